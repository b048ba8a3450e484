"""The operator that makes the CRM follow a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_closers.choices import read_switch
from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.operators.push import PushOperator
from airflow_provider_closers.operators.unseen import UnseenProspects

if TYPE_CHECKING:
    from airflow_provider_closers.operators.resume import TaskCheckpoint
    from airflow_provider_closers.push.rejects import RejectsFile
    from airflow_provider_closers.push.report import PushReport

#: What says itself here: the snapshot is the checkpoint, and who exists is updated.
_NOT_HERE = ("if_exists", "checkpoint_path")


class SyncProspectsOperator(UnseenProspects):
    """
    Makes the CRM follow a source: sends what changed since the last sync, and nothing else.

    The source is read to its end first, and set beside the snapshot: what the API confirmed in
    earlier runs. Who is new is created (or updated, should the CRM have them), of whom the sync
    knows the changed fields are updated, and ``on_removed`` says what becomes of those who are
    gone. A record that is rejected is tried again in the next run, and so is what a run that was
    cut short did not get to. See ``docs/sync.md``.

    Takes the parameters of :class:`~airflow_provider_closers.operators.push.PushOperator` but
    ``if_exists`` and ``checkpoint_path``, and these. Exactly one source is to be given:
    ``prospects``, ``sql`` (with ``conn_id``) or ``path``.

    The report (the task's XCom) also has ``read``, the source's records, and ``removed``, the people
    who are gone from it: ``total`` is both. Each of them is counted in one outcome, or as
    ``unchanged``, ``kept`` or ``postponed``.

    :param snapshot_path: A file on any ObjectStoragePath for what the API has confirmed (templated);
        a mapped task adds its map index to the name. A journal and a lock are beside it.
    :param prospects: One record or any iterable of them (templated).
    :param conn_id: The database connection's id (templated).
    :param sql: The query, or the path of a ``.sql`` file (templated).
    :param parameters: What the driver binds to the query's placeholders (templated).
    :param hook_params: What the database hook takes beside the connection.
    :param path: A file, a folder or a pattern (templated).
    :param file_format: ``csv``, ``jsonl`` or ``parquet``; by default what each file's name says.
    :param encoding: Of CSV and JSON Lines.
    :param csv_options: What Python's ``csv.DictReader`` takes.
    :param on_removed: What becomes of a person who is not in the source any more: ``keep`` (default;
        nothing is sent, and the sync forgets them), ``flag`` (``removed_field`` is set to true) or
        ``delete`` (and, with a ``suppression_list``, put on it first).
    :param removed_field: For ``flag``: a status flag, or a name in ``other_attributes``.
    :param max_removed: How many of those known may be gone from the source: a count, or a fraction
        (1.0: all). More is an error before the first request, since the source is likely not whole.
    :param max_deletes: How many prospects may be deleted: a count, or a fraction of those known. More
        is an error before the first request.
    :param if_missing: Where somebody else removed a known person from the CRM: ``skip`` (default:
        they are not brought back), ``create`` or ``fail``.
    :param full_resync: Do without the snapshot, as the first run must: push every record of the
        source, and remove nobody (templated: ``"{{ params.full_resync }}"``).
    """

    template_fields: Sequence[str] = (
        "prospects",
        "conn_id",
        "sql",
        "parameters",
        "path",
        "snapshot_path",
        "full_resync",
        *PushOperator.template_fields,
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "parameters": "json"}

    def __init__(
        self,
        *,
        snapshot_path: str,
        prospects: Any = None,
        conn_id: str | None = None,
        sql: str | None = None,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        hook_params: Mapping[str, Any] | None = None,
        path: str | None = None,
        file_format: str | None = None,
        encoding: str = "utf-8",
        csv_options: Mapping[str, Any] | None = None,
        on_removed: str = "keep",
        removed_field: str | None = None,
        max_removed: float = 0.5,
        max_deletes: float = 100,
        if_missing: str = "skip",
        full_resync: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(operation="sync", if_missing=if_missing, **kwargs)
        self.max_deletes = max_deletes  # type: ignore[assignment] # a sync takes fractions, too
        self.snapshot_path = snapshot_path
        self.prospects = prospects
        self.conn_id = conn_id
        self.sql = sql
        self.parameters = parameters
        self.hook_params = hook_params
        self.path = path
        self.file_format = file_format
        self.encoding = encoding
        self.csv_options = csv_options
        self.on_removed = on_removed
        self.removed_field = removed_field
        self.max_removed = max_removed
        self.full_resync = full_resync

    def _send(
        self,
        context: Any,
        rejects: RejectsFile | None,
        checkpoint: TaskCheckpoint | None,  # noqa: ARG002 - the snapshot is it
    ) -> PushReport:
        from airflow_provider_closers.operators.paths import path_of_instance
        from airflow_provider_closers.push.source import records_of

        return self.hook.sync(
            self._unless_empty(records_of(self._records(context), "sync")),
            snapshot_path=path_of_instance(self.snapshot_path, context),
            on_removed=self.on_removed,
            removed_field=self.removed_field,
            max_removed=self.max_removed,
            max_deletes=self.max_deletes,
            if_missing=self.if_missing or "skip",
            full_resync=read_switch("full_resync", self.full_resync),
            run=_name_of_run(context),
            field_map=self.field_map,
            other_attributes=self.other_attributes,
            transform=self.transform,
            reset_flags=self.reset_flags,
            suppression=self._suppression(),
            preview=self.preview,
            on_reject=rejects,
            longest_wait=self.longest_wait,
            on_interrupt=self._publisher(rejects, context),
        )

    def _records(self, context: Any) -> Iterable[Any]:
        given = [name for name in ("prospects", "sql", "path") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ClosersConfigError(
                f"The source is {' and '.join(given) or 'missing'}; give exactly one of prospects, sql (with "
                "conn_id) and path. (prospects is None, too, where the upstream task returned nothing.)"
            )
        from airflow_provider_closers.operators.inputs import file_records, query_rows

        if self.sql is not None:
            return query_rows(self.conn_id, self.sql, self.parameters, self.hook_params)
        if self.path is not None:
            return file_records(
                self.path,
                self.file_format,
                self.encoding,
                self.csv_options,
                rejects_path=self.rejects_path,
                context=context,
            )
        records: Iterable[Any] = self.prospects
        return records

    def _unless_empty(self, records: Iterable[Any]) -> Iterator[Any]:
        """Yield the records; where there are none, end the task as the user says, and remove nobody."""
        is_empty = True
        for record in records:
            is_empty = False
            yield record
        if is_empty:
            from airflow_provider_closers.sync.report import SyncReport

            if end := self._end_of_nothing(SyncReport(preview=self.preview)):
                raise end

    def _checkpoint(self, context: Any, *, was_deferred: bool) -> TaskCheckpoint | None:  # noqa: ARG002
        return None  # The snapshot says what is done, to the next try as to the next run.

    @property
    def _deletes(self) -> bool:
        return self.on_removed == "delete"

    def _check_limits(self) -> None:
        super()._check_limits()
        for name in _NOT_HERE:
            if getattr(self, name) is not None:
                raise ClosersConfigError(
                    f"{name} is given; a sync takes none: its snapshot is its checkpoint, and who exists is "
                    "updated."
                )

    def _check_max_deletes(self) -> None:
        """Leave it to the sync, which takes fractions, too."""


def _name_of_run(context: Any) -> str | None:
    """Return what the tries of one task instance have in common, until a person clears it."""
    ti = context.get("ti")
    names = [getattr(ti, name, None) for name in ("dag_id", "run_id", "task_id", "map_index", "max_tries")]
    return None if None in names else " ".join(map(str, names))
