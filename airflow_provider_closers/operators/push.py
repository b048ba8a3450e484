"""The task side of a push: what every operator and transfer does around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_closers.choices import check_choice, read_switch
from airflow_provider_closers.errors import (
    ClosersConfigError,
    ClosersError,
    PushFailedError,
    PushStoppedError,
    TooManyDeletesError,
    is_final,
)
from airflow_provider_closers.hooks.closers import ClosersHook
from airflow_provider_closers.links.push import ClosersLink, PushReportLink, RejectsLink

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_closers.operators.resume import TaskCheckpoint
    from airflow_provider_closers.push.rejects import RejectsFile
    from airflow_provider_closers.push.report import PushReport
    from airflow_provider_closers.suppression import SuppressionList

#: What of the report is not part of an asset's event, which stays in Airflow's database for longer.
_NOT_IN_EVENTS = frozenset({"pace", "rejects"})


class PushOperator(BaseOperator):
    """
    Pushes records; what the operators and the transfers share. Subclasses say where records come from.

    The task pushes every record it can, and then fails if more than ``max_rejects`` were rejected.
    Its XCom (``return_value``, also when it fails) is the report: ``operation``, ``preview``,
    ``total``, one count per outcome, ``withheld_flags``, ``requests``, ``retries``, ``throttled``,
    ``seconds``, ``error``, ``pace``, ``reject_reasons``, ``rejects`` (the first 20, emails masked) and
    ``rejects_path``.

    Where the API asks for a longer wait than ``longest_wait``, the task is deferred until then, and goes
    on where it stopped. On Airflow 3.3 a task without a ``retry_policy`` of its own has
    :class:`~airflow_provider_closers.retry_policy.ClosersRetryPolicy`; on older ones a failure that no
    other try could mend is an ``AirflowFailException``, which is not tried again.

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
        hashes before it erases them; for the hashes' key see
        :func:`~airflow_provider_closers.operators.suppression.open_suppression_list`.
    :param max_rejects: How many rejects the task bears: a count, or a fraction below 1.
    :param checkpoint_path: A file on any ObjectStoragePath in which the push keeps how far it got,
        so that a retry goes on from there (templated); a mapped task adds its map index to the name.
    :param rejects_path: A file on any ObjectStoragePath for the full rejects, as JSON Lines
        (templated); a mapped task adds its map index to the name.
    :param longest_wait: Seconds of ``Retry-After`` that the task sits out on its worker. For a longer wait,
        up to a day, it is deferred, which takes a running triggerer.
    :param on_empty: The task's end where there are no records: ``success``, ``skip`` or ``fail``.
    :param preview: Read, check and count everything, and send nothing (templated:
        ``"{{ params.preview }}"``).
    """

    template_fields: Sequence[str] = (
        "closers_conn_id",
        "rejects_path",
        "checkpoint_path",
        "suppression_list",
        "preview",
    )
    operator_extra_links = (PushReportLink(), RejectsLink(), ClosersLink())
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
        longest_wait: float = 300.0,
        on_empty: str = "success",
        preview: bool | str = False,
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
        self.longest_wait = longest_wait
        self.on_empty = on_empty
        self.preview: bool = preview  # type: ignore[assignment] # text from a template, until it is read
        if hasattr(self, "retry_policy"):  # Airflow 3.3 and newer
            from airflow_provider_closers.retry_policy import ClosersRetryPolicy

            self.retry_policy = self.retry_policy or ClosersRetryPolicy()
        self._is_pushing = False
        self._report: PushReport | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """
        Push, report, and fail if the user's limits say so.

        :return: The report, as the task's XCom.
        :raises ClosersConfigError: The connection or a parameter is unusable; nothing was sent.
        :raises TooManyDeletesError: There are more records than ``max_deletes``; nothing was deleted.
        :raises PushFailedError: More rejects than allowed, or no records and ``on_empty="fail"``.
        :raises ClosersError: What stopped the push before its end, one of its family. Where another try would
            not fare better, and Airflow knows no retry policies, it is an ``AirflowFailException`` too.
        :raises TaskDeferred: The API asked for a longer wait than ``longest_wait``.
        """
        return self._execute(context, was_deferred=False)

    def go_on(self, context: Any, event: Any = None) -> dict[str, Any]:  # noqa: ARG002 - it says only when
        """Go on where the push stopped when the task was deferred; see :meth:`execute`."""
        return self._execute(context, was_deferred=True)

    def _execute(self, context: Any, *, was_deferred: bool) -> dict[str, Any]:
        try:
            self.preview = read_switch("preview", self.preview)
            return self._push(context, self._checkpoint(context, was_deferred=was_deferred))
        except ClosersError as e:
            if is_final(e) and getattr(self, "retry_policy", None) is None:
                from airflow_provider_closers.operators.failure import not_to_be_retried

                raise not_to_be_retried(e) from e
            raise

    def _push(self, context: Any, checkpoint: TaskCheckpoint | None) -> dict[str, Any]:
        self._check_limits()
        with self._rejects_file(context) as rejects, self._stoppable():
            report = self._noted(self._send(context, rejects, checkpoint), rejects)
        if report.error is not None:
            self._defer_for_a_long_wait(report, checkpoint, context)
        return self._conclude(report, context)

    def _defer_for_a_long_wait(
        self, report: PushReport, checkpoint: TaskCheckpoint | None, context: Any
    ) -> None:
        from airflow_provider_closers.operators.deferral import seconds_to_defer, trigger_in

        if seconds := seconds_to_defer(report.error, self.longest_wait):
            self.log.info("%s The task is deferred until then.", report.error)
            self._publish(report, context)
            if checkpoint is not None:
                checkpoint.defer()
            self.defer(trigger=trigger_in(seconds), method_name="go_on")

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002
        """Return what went where; OpenLineage's provider asks for it, where it is installed."""
        if self._report is None:
            return None
        from airflow_provider_closers.operators.lineage import lineage_of, source_of

        return lineage_of(self._report, self.hook.settings.base_url, source_of(self))

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return what went where all the same: a push that failed has sent what it could."""
        return self.get_openlineage_facets_on_complete(task_instance)

    def _send(
        self, context: Any, rejects: RejectsFile | None, checkpoint: TaskCheckpoint | None
    ) -> PushReport:
        """Push the records, and return what it came to."""
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
            checkpoint=checkpoint,
            longest_wait=self.longest_wait,
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
        from airflow_provider_closers.operators.paths import path_of_instance
        from airflow_provider_closers.push.rejects import RejectsFile

        # The push itself drops what is there, unless it goes on from a checkpoint.
        return RejectsFile(path_of_instance(self.rejects_path, context), keep=True)

    def _checkpoint(self, context: Any, *, was_deferred: bool) -> TaskCheckpoint | None:
        from airflow_provider_closers.operators.paths import path_of_instance
        from airflow_provider_closers.operators.resume import checkpoint_of

        path = path_of_instance(self.checkpoint_path, context) if self.checkpoint_path else None
        if self.preview:
            return None
        return checkpoint_of(context, path, retries=self.retries or 0, was_deferred=was_deferred)

    def _suppression(self) -> SuppressionList | None:
        if not self.suppression_list:
            return None
        from airflow_provider_closers.operators.suppression import open_suppression_list

        return open_suppression_list(self.suppression_list, create=self._deletes)

    def _conclude(self, report: PushReport, context: Any) -> dict[str, Any]:
        """Turn the report into the task's end."""
        if end := report.failure(self.max_rejects) or (report.total == 0 and self._end_of_nothing(report)):
            self._publish(report, context)
            raise end
        told = report.as_dict()
        if self.outlets:
            from airflow_provider_closers.assets.closers import note_on_outlets

            counts = {name: value for name, value in told.items() if name not in _NOT_IN_EVENTS}
            note_on_outlets(self.outlets, context, counts)
        return told

    def _noted(self, report: PushReport, rejects: RejectsFile | None) -> PushReport:
        """Say in the report where the rejects are, if there are any, and keep it for who asks later."""
        if rejects is not None and report.rejected and rejects.is_written:
            report.rejects_path = rejects.path
        self._report = report
        return report

    def _publisher(self, rejects: RejectsFile | None, context: Any) -> Callable[[PushReport], None]:
        """Return what publishes the report of a push that ends with an exception."""
        return lambda report: self._publish(self._noted(report, rejects), context)

    def _publish(self, report: PushReport, context: Any) -> None:
        """Put the report where the return value of a task that succeeds is; one that fails has none."""
        if (ti := context.get("ti")) and self.do_xcom_push:
            ti.xcom_push(key="return_value", value=report.as_dict())

    def _end_of_nothing(self, report: PushReport) -> Exception | None:
        """Return what ends a task that has no records, where the user wants it to end otherwise than well."""
        message = f"There are no prospects to push (on_empty={self.on_empty!r})."
        if self.on_empty == "skip":
            return AirflowSkipException(message)
        return PushFailedError(message, report) if self.on_empty == "fail" and not self.preview else None
