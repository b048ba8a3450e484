"""The task side of a push: what every operator and transfer does around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_closers.choices import check_choice
from airflow_provider_closers.errors import (
    ClosersConfigError,
    PushFailedError,
    PushStoppedError,
    TooManyDeletesError,
)
from airflow_provider_closers.hooks.closers import ClosersHook

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_closers.push.checkpoint import Checkpoint
    from airflow_provider_closers.push.rejects import RejectsFile
    from airflow_provider_closers.push.report import PushReport
    from airflow_provider_closers.suppression import SuppressionList

#: The Airflow Variable that holds the key of the suppression list's hashes. Its name ends so that
#: Airflow masks it.
SUPPRESSION_SECRET_VARIABLE = "closers_suppression_secret"  # noqa: S105 - a name, not a secret

_WHAT_A_LIST_MAY_BE = "it must be the path of a file, or a mapping of 'conn_id' and 'sql'"


class PushOperator(BaseOperator):
    """
    Pushes records; what the operators and the transfers share. Subclasses say where records come from.

    The task pushes every record it can, and then fails if more than ``max_rejects`` were rejected.
    Its XCom (``return_value``, also when it fails) is the report: ``operation``, ``preview``,
    ``total``, one count per outcome, ``withheld_flags``, ``requests``, ``retries``, ``seconds``,
    ``rejects`` (the first 20, emails masked) and ``rejects_path``.

    :param operation: ``create``, ``update``, ``upsert`` or ``delete``.
    :param closers_conn_id: The connection's id (templated).
    :param if_exists: For create, what to do about a prospect that is there already: ``skip`` it
        (default), ``update`` it, or ``fail`` the record.
    :param if_missing: What to do where no prospect has the email. For update: ``fail`` the record
        (default), ``skip`` it, or ``create`` the prospect; for delete: ``skip`` (default) or ``fail``.
    :param max_deletes: For delete, how many records the task may delete; more is an error before
        the first request.
    :param field_map: Renames: the record's key to a field, or to a name in ``other_attributes``.
    :param other_attributes: Keys that go into ``otherAttribute``, or ``"*"`` for every key that is
        no field.
    :param transform: Is given each record, a copy, and returns it as it should be pushed, or ``None``
        to drop it (``filtered``). What it raises rejects that record.
    :param reset_flags: Status flags whose ``False`` is sent, too.
    :param suppression_list: Addresses never to send: a file on any ObjectStoragePath, or a query as
        ``{"conn_id": ..., "sql": ...}`` (templated). Delete adds the addresses to the file as keyed
        hashes before it erases them; the hashes' key is the Airflow Variable
        ``closers_suppression_secret``.
    :param max_rejects: How many rejects the task bears: a count, or a fraction below 1.
    :param checkpoint_path: A file on any ObjectStoragePath in which the push keeps how far it got,
        so that a retry goes on from there (templated); a mapped task adds its map index to the name.
    :param rejects_path: A file on any ObjectStoragePath for the full rejects, as JSON Lines
        (templated); a mapped task adds its map index to the name.
    :param on_empty: The task's end where there are no records: ``success``, ``skip`` or ``fail``.
    :param preview: Read, check and count everything, and send nothing.
    """

    template_fields: Sequence[str] = (
        "closers_conn_id",
        "rejects_path",
        "checkpoint_path",
        "suppression_list",
    )
    ui_color = "#e6f4ef"

    def __init__(
        self,
        *,
        operation: str,
        closers_conn_id: str = ClosersHook.default_conn_name,
        if_exists: str | None = None,
        if_missing: str | None = None,
        max_deletes: int = 100,
        field_map: Mapping[str, str] | None = None,
        other_attributes: str | Iterable[str] = (),
        transform: Callable[[Any], Any] | None = None,
        reset_flags: str | Iterable[str] = (),
        suppression_list: str | Mapping[str, str] | None = None,
        max_rejects: float = 0,
        checkpoint_path: str | None = None,
        rejects_path: str | None = None,
        on_empty: str = "success",
        preview: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation = operation
        self.closers_conn_id = closers_conn_id
        self.if_exists = if_exists
        self.if_missing = if_missing
        self.max_deletes = max_deletes
        self.field_map = field_map
        self.other_attributes = other_attributes
        self.transform = transform
        self.reset_flags = reset_flags
        self.suppression_list = suppression_list
        self.max_rejects = max_rejects
        self.checkpoint_path = checkpoint_path
        self.rejects_path = rejects_path
        self.on_empty = on_empty
        self.preview = preview
        self._is_pushing = False

    def execute(self, context: Any) -> dict[str, Any]:
        """
        Push, report, and fail if the user's limits say so.

        :return: The report, as the task's XCom.
        :raises ClosersConfigError: The connection or a parameter is unusable; nothing was sent.
        :raises TooManyDeletesError: There are more records than ``max_deletes``; nothing was deleted.
        :raises PushFailedError: More rejects than allowed, or no records and ``on_empty="fail"``.
        :raises ClosersError: What stopped the push before its end, one of its family.
        """
        self._check_limits()
        with self._rejects_file(context) as rejects, self._stoppable():
            report = self._push(rejects, context)
        return self._conclude(_with_path(report, rejects), context)

    def _push(self, rejects: RejectsFile | None, context: Any) -> PushReport:
        """Push the records."""
        return self.hook.push(
            self.operation,
            self._records_in_limit(context),
            field_map=self.field_map,
            other_attributes=self.other_attributes,
            transform=self.transform,
            if_exists=self.if_exists,
            if_missing=self.if_missing,
            reset_flags=self.reset_flags,
            suppression=self._suppression(),
            preview=self.preview,
            on_reject=rejects,
            checkpoint=self._checkpoint(context),
            on_interrupt=self._publisher(rejects, context),
        )

    def on_kill(self) -> None:
        """
        Stop the push: what is in flight may end, the rest is ``unresolved``, and a retry goes on there.

        Airflow calls this in the signal's handler (SIGTERM), on top of what :meth:`execute` is doing. On
        2.11 it then raises an exception there itself; on 3.x it does not, and kills the process soon.

        :raises PushStoppedError: A push is under way.
        """
        if self._is_pushing:
            raise PushStoppedError("Airflow told the task to stop; the push is stopped.")

    @property
    def hook(self) -> ClosersHook:
        """The hook on this operator's connection."""
        return ClosersHook(self.closers_conn_id)

    @property
    def _deletes(self) -> bool:
        """Whether the push may delete prospects, and so put addresses onto the suppression list."""
        return self.operation == "delete"

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        self._is_pushing = True
        try:
            yield
        finally:
            self._is_pushing = False

    def _records(self, context: Any) -> Iterable[Any]:
        """Return the records to push."""
        raise NotImplementedError

    def _records_in_limit(self, context: Any) -> Iterable[Any]:
        """Return the records if they are few enough to delete, reading no more of them than that takes."""
        records = self._records(context)
        if self.operation != "delete":
            return records
        if isinstance(records, Sized):
            if len(records) > self.max_deletes:
                self._refuse_to_delete(f"{len(records)} records")
            return records
        remaining = iter(records)
        head = list(islice(remaining, self.max_deletes + 1))
        if len(head) <= self.max_deletes:
            return head
        self._refuse_to_delete(f"more than {self.max_deletes} records")
        return chain(head, remaining)

    def _refuse_to_delete(self, how_many: str) -> None:
        message = (
            f"There are {how_many} to delete, and max_deletes is {self.max_deletes}. Deletion can't be "
            "undone: look at the input, then set max_deletes to the number you expect. Nothing was deleted."
        )
        if not self.preview:
            raise TooManyDeletesError(message)
        self.log.warning("%s", message)

    def _check_limits(self) -> None:
        check_choice("on_empty", self.on_empty, ("success", "skip", "fail"))
        limit = self.max_rejects
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 0:
            raise ClosersConfigError(f"max_rejects is {limit!r}; it must be a count, or a fraction below 1.")
        if isinstance(limit, float) and limit >= 1:
            raise ClosersConfigError(
                f"max_rejects is {limit!r}; a fraction must be below 1, a count must be an int."
            )
        self._check_max_deletes()

    def _check_max_deletes(self) -> None:
        limit = self.max_deletes
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise ClosersConfigError(f"max_deletes is {limit!r}; it must be a count of records.")

    def _rejects_file(self, context: Any) -> AbstractContextManager[RejectsFile | None]:
        if not self.rejects_path or self.preview:
            return nullcontext()  # A preview must not replace what the last push left to be mended.
        from airflow_provider_closers.push.rejects import RejectsFile

        # The push itself drops what is there, unless it goes on from a checkpoint.
        return RejectsFile(path_of_instance(self.rejects_path, context), keep=True)

    def _checkpoint(self, context: Any) -> Checkpoint | None:
        from airflow_provider_closers.operators.resume import checkpoint_of

        path = path_of_instance(self.checkpoint_path, context) if self.checkpoint_path else None
        return None if self.preview else checkpoint_of(context, path, self.retries or 0)

    def _suppression(self) -> SuppressionList | None:
        if not self.suppression_list:
            return None
        from airflow_provider_closers.suppression import SuppressionList

        if not isinstance(self.suppression_list, str | Mapping):
            raise ClosersConfigError(
                f"suppression_list is of type {type(self.suppression_list).__name__}; {_WHAT_A_LIST_MAY_BE}."
            )
        if isinstance(self.suppression_list, Mapping):
            return SuppressionList(self._query(self.suppression_list), name="of the query")
        return SuppressionList.from_file(
            storage_path(self.suppression_list),
            secret=_suppression_secret(),
            create=self._deletes,
        )

    @staticmethod
    def _query(query: Mapping[str, str]) -> Iterator[str]:
        if set(query) != {"conn_id", "sql"}:
            raise ClosersConfigError(f"suppression_list has other keys; {_WHAT_A_LIST_MAY_BE}.")
        rows = ClosersHook.get_hook(query["conn_id"]).get_records(query["sql"])
        return (str(row[0]) for row in rows if row[0] is not None)

    def _conclude(self, report: PushReport, context: Any) -> dict[str, Any]:
        """Turn the report into the task's end."""
        for reject in report.rejects:
            small = reject.as_dict()
            self.log.warning("Rejected record %s (%s): %s", small["index"], small["email"], small["reason"])
        if report.rejected > len(report.rejects):
            self.log.warning("... and %d more.", report.rejected - len(report.rejects))
        if report.withheld_flags:
            self.log.info(
                "Status flags that were False and not sent: %d; name a flag in reset_flags to reset it.",
                report.withheld_flags,
            )
        if failure := self._failure(report):
            self._publish(report, context)
            raise failure
        if report.total == 0 and self.on_empty == "skip":
            raise AirflowSkipException("There are no prospects to push (on_empty='skip').")
        return report.as_dict()

    def _publisher(self, rejects: RejectsFile | None, context: Any) -> Callable[[PushReport], None]:
        """Return what publishes the report of a push that ends with an exception."""
        return lambda report: self._publish(_with_path(report, rejects), context)

    def _publish(self, report: PushReport, context: Any) -> None:
        """Put the report where the return value of a task that succeeds is; one that fails has none."""
        if (ti := context.get("ti")) and self.do_xcom_push:
            ti.xcom_push(key="return_value", value=report.as_dict())

    def _failure(self, report: PushReport) -> Exception | None:
        if report.error is not None:
            return report.error
        if report.total == 0 and self.on_empty == "fail" and not self.preview:
            return PushFailedError("There are no prospects to push (on_empty='fail').", report)
        share = (
            report.rejected / report.total if 0 < self.max_rejects < 1 and report.total else report.rejected
        )
        if share > self.max_rejects and not self.preview:
            first = f" The first: {report.rejects[0].reason.rstrip('.')}." if report.rejects else ""
            where = f" All are in {report.rejects_path}." if report.rejects_path else ""
            return PushFailedError(
                f"{report.rejected} of {report.total} records were rejected, max_rejects={self.max_rejects}; "
                f"the others were pushed.{first}{where}",
                report,
            )
        return None


def _with_path(report: PushReport, rejects: RejectsFile | None) -> PushReport:
    """Say in the report where the rejects are, if there are any."""
    if rejects is not None and report.rejected and rejects.is_written:
        report.rejects_path = rejects.path
    return report


def storage_path(path: str) -> Path:
    """
    Return where a URI leads, on this machine or in any storage that Airflow knows.

    :raises ClosersConfigError: It is no such path.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    if not isinstance(path, str | os.PathLike | ObjectStoragePath) or not str(path).strip():
        raise ClosersConfigError(f"{path!r} is no path; it must be one URI, such as 's3://bucket/leads.csv'.")
    try:
        whole = ObjectStoragePath(path)
        _ = whole.fs  # Airflow 2 finds out only here that it knows no such storage.
    except (ValueError, TypeError, ImportError) as e:
        raise ClosersConfigError(f"{path!r} is no path that Airflow's ObjectStoragePath takes ({e}).") from e
    return whole  # type: ignore[return-value] # It has pathlib's interface, though not its class.


def path_of_instance(path: str, context: Any) -> Path:
    """Return a task's path, or for a mapped one each instance's: they share the parameter, not the file."""
    whole = storage_path(path)
    map_index = getattr(context.get("ti"), "map_index", -1)
    if not isinstance(map_index, int) or map_index < 0:
        return whole
    return whole.with_name(f"{whole.stem}-{map_index}{whole.suffix}")


def _suppression_secret() -> str | None:
    from airflow.providers.common.compat.sdk import Variable

    secret: str | None = Variable.get(SUPPRESSION_SECRET_VARIABLE, None)
    return secret
