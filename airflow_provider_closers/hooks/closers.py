"""The hook: a Closers connection, single calls and pushes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_closers.errors import ClosersConfigError, ClosersError

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_closers.client import ClosersClient
    from airflow_provider_closers.prospect import Prospect
    from airflow_provider_closers.push.call import Caller
    from airflow_provider_closers.push.checkpoint import Checkpoint
    from airflow_provider_closers.push.engine import Suppression
    from airflow_provider_closers.push.report import PushReport, Reject
    from airflow_provider_closers.settings import ClosersSettings
    from airflow_provider_closers.sync.report import SyncReport

#: Whose connections' passwords are sent as keys. Not those of databases, say: theirs are for others.
_TYPES = ("closers", "http", "https", "generic")


class ClosersHook(BaseHook):
    """
    Talks to the Closers prospect API.

    The connection is read on first use; see ``docs/connection.md`` for its fields. The key travels in the
    ``Authorization`` header only.

    :param closers_conn_id: The connection's id.
    """

    conn_name_attr = "closers_conn_id"
    default_conn_name = "closers_default"
    conn_type = "closers"
    hook_name = "Closers"

    def __init__(self, closers_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.closers_conn_id = closers_conn_id

    @cached_property
    def settings(self) -> ClosersSettings:
        """
        The connection's checked contents.

        :raises ClosersConfigError: Names the connection, the field and what is allowed.
        """
        from airflow_provider_closers.settings import ClosersSettings

        connection = self.get_connection(self.closers_conn_id)
        if connection.conn_type and connection.conn_type not in _TYPES:
            raise ClosersConfigError(
                f"Connection {self.closers_conn_id!r} is of the type {connection.conn_type!r}, and its "
                f"password would be sent to Closers; give one of the type {self.conn_type!r}."
            )
        return ClosersSettings.from_connection(
            self.closers_conn_id,
            password=connection.password,
            host=connection.host,
            port=connection.port,
            scheme=connection.schema,
            extra=connection.extra,
        )

    def get_conn(self) -> ClosersClient:
        """Return the client, which sends one request at a time over kept-alive connections."""
        return self._client

    def create_prospect(
        self, prospect: Mapping[str, Any], *, reset_flags: Iterable[str] = ()
    ) -> dict[str, Any]:
        """
        Add a prospect.

        The page lists fewer fields for POST than for PATCH: where the record has more (``title``,
        a status flag), a PATCH with the rest follows. A lost answer is asked for again, and "exists"
        on that second try is success. (Vendor's page "Prospect API", *Add new prospect*.)

        :param prospect: The record; ``email`` is required.
        :param reset_flags: Status flags whose ``False`` is sent, too.
        :return: The API's decoded answer to the POST, ``{}`` where it has no body.
        :raises ProspectExistsError: A prospect with this email exists.
        :raises InvalidProspectError: The record is unusable; nothing was sent.
        :raises ClosersError: One of its family, for any other refusal.
        """
        record = self._read(prospect, reset_flags)
        answer = self._call("POST", record.post_body)
        if (rest := record.beyond_post_body) is not None:
            self._call("PATCH", rest)
        return answer

    def update_prospect(
        self, prospect: Mapping[str, Any], *, reset_flags: Iterable[str] = ()
    ) -> dict[str, Any]:
        """
        Change the given fields of the prospect with this email.

        Fields that are absent or ``None`` are not sent, so a repeat is harmless. (Vendor's page
        "Prospect API", *Update prospect*.)

        :param prospect: The record; ``email`` is required.
        :param reset_flags: Status flags whose ``False`` is sent, too.
        :return: The API's decoded answer, ``{}`` where it has no body.
        :raises ProspectNotFoundError: No prospect has this email.
        :raises InvalidProspectError: The record is unusable; nothing was sent.
        :raises ClosersError: One of its family, for any other refusal.
        """
        return self._call("PATCH", self._read(prospect, reset_flags).patch_body)

    def delete_prospect(self, prospect: str | Mapping[str, Any]) -> dict[str, Any]:
        """
        Remove a prospect from the account and from every campaign, for good.

        (Vendor's page "Prospect API", *Delete prospect*.)

        :param prospect: The email, or a record with it.
        :return: The API's decoded answer, ``{}`` where it has no body.
        :raises ProspectNotFoundError: No prospect has this email.
        :raises InvalidProspectError: The email is unusable; nothing was sent.
        :raises ClosersError: One of its family, for any other refusal.
        """
        return self._call("DELETE", {"email": self._read(prospect, bare_emails=True).email})

    def push(
        self,
        operation: str,
        prospects: Mapping[str, Any] | Iterable[Any],
        *,
        field_map: Mapping[str, str] | None = None,
        other_attributes: str | Iterable[str] = (),
        transform: Callable[[Any], Any] | None = None,
        if_exists: str | None = None,
        if_missing: str | None = None,
        reset_flags: str | Iterable[str] = (),
        suppression: Suppression | Collection[str] | None = None,
        preview: bool = False,
        on_reject: Callable[[Reject], None] | None = None,
        checkpoint: Checkpoint | None = None,
        longest_wait: float = 300.0,
        on_interrupt: Callable[[PushReport], None] | None = None,
    ) -> PushReport:
        """
        Apply one operation to every record, and account for every record.

        One bad record never holds up the others. A refused key or an outage ends the push early,
        which is not raised: the report's ``error`` says why, and the rest is ``unresolved``.

        :param operation: ``create``, ``update``, ``upsert`` or ``delete``.
        :param prospects: One record or any iterable of them, of any length; it is read as it is
            pushed. For delete, an email string stands for its record.
        :param field_map: Renames: the record's key to a field, or to a name in ``other_attributes``.
        :param other_attributes: Keys that go into ``otherAttribute``, or ``"*"`` for every key that
            is no field.
        :param transform: Is given each record, a copy, and returns it as it should be pushed, or
            ``None`` to drop it (``filtered``). What it raises rejects that record.
        :param if_exists: For create: ``skip`` (default), ``update`` or ``fail``.
        :param if_missing: For update: ``fail`` (default), ``skip`` or ``create``; for delete:
            ``skip`` (default) or ``fail``.
        :param reset_flags: Status flags whose ``False`` is sent, too.
        :param suppression: Addresses that are not sent: a
            :class:`~airflow_provider_closers.suppression.SuppressionList`, to which those that are deleted
            are added, or for what deletes nobody a list of them.
        :param preview: Read, check and count everything and send nothing; what would be sent is
            counted as ``unresolved``.
        :param on_reject: Called with each reject.
        :param checkpoint: An object with ``load()`` and ``save(state)``, where the push keeps how
            far it got, so that another one with the same input goes on from there.
        :param longest_wait: Seconds of ``Retry-After`` that the push sits out; a longer one stops it, and
            the report's ``error`` has it as ``retry_after``.
        :param on_interrupt: Called with the report of a push that ends with an exception: the input's,
            or a signal's.
        :return: The counts, and the first rejects.
        :raises ClosersConfigError: The connection or an argument is unusable; nothing was sent.
        """
        from airflow_provider_closers.client import ClosersClient
        from airflow_provider_closers.hooks.metrics import PushMetrics
        from airflow_provider_closers.prospect import RecordRules
        from airflow_provider_closers.push.engine import Push
        from airflow_provider_closers.push.journey import Route
        from airflow_provider_closers.push.source import records_of

        _check_arguments(on_reject=on_reject, checkpoint=checkpoint)
        route = Route(operation=operation, if_exists=if_exists, if_missing=if_missing)
        rules = RecordRules(
            field_map=field_map,
            other_attributes=other_attributes,
            reset_flags=reset_flags,
            bare_emails=operation == "delete",
        )
        # A client of its own: a push that is stopped cuts its connections.
        with closing(ClosersClient(self.settings)) as client:
            push = Push(
                client=client,
                settings=self.settings,
                route=route,
                rules=rules,
                transform=transform,
                suppression=_suppression_of(suppression),
                preview=preview,
                on_reject=on_reject,
                checkpoint=checkpoint,
                longest_wait=longest_wait,
                on_interrupt=on_interrupt,
                meter=PushMetrics(operation, self.closers_conn_id),
            )
            report = push.run(records_of(prospects, operation))
        self._log_what_is_amiss(report)
        return report

    def sync(
        self,
        prospects: Mapping[str, Any] | Iterable[Any],
        *,
        snapshot_path: Path,
        on_removed: str = "keep",
        removed_field: str | None = None,
        max_removed: float = 0.5,
        max_deletes: float = 100,
        if_missing: str = "skip",
        full_resync: bool = False,
        run: str | None = None,
        field_map: Mapping[str, str] | None = None,
        other_attributes: str | Iterable[str] = (),
        transform: Callable[[Any], Any] | None = None,
        reset_flags: str | Iterable[str] = (),
        suppression: Suppression | Collection[str] | None = None,
        preview: bool = False,
        on_reject: Callable[[Reject], None] | None = None,
        longest_wait: float = 300.0,
        on_interrupt: Callable[[PushReport], None] | None = None,
    ) -> SyncReport:
        """
        Make the CRM follow a source: send what changed since the last sync, and nothing else.

        The parameters that are not here are those of :meth:`push`. What stops the sync early is in the
        report's ``error``, as there.

        :param prospects: The whole source; it is read to its end before the first request.
        :param snapshot_path: Where the sync keeps what the API has confirmed: a ``pathlib.Path``, or an
            ``ObjectStoragePath``. A journal and a lock are beside it.
        :param on_removed: What becomes of a person who is not in the source any more: ``keep`` (default),
            ``flag`` or ``delete``.
        :param removed_field: For ``flag``, the field that is set to true.
        :param max_removed: How many of those known may be gone from the source: a count, or a fraction.
        :param max_deletes: How many prospects may be deleted: a count, or a fraction of those known.
        :param if_missing: Where somebody else removed a known person from the CRM: ``skip`` (default),
            ``create`` or ``fail``.
        :param full_resync: Do without the snapshot: push the whole source, and remove nobody.
        :param run: The name of this run: another try of it may take over its lock at once, and its
            report counts what this one did, too.
        :return: The counts, and the first rejects.
        :raises SnapshotError: The snapshot is lost, damaged, or another account's; nothing was sent.
        :raises SyncRunningError: Another run is at it.
        :raises SourceShrunkError: More are gone than ``max_removed``; nothing was sent.
        :raises TooManyDeletesError: There are more to delete than ``max_deletes``; nothing was sent.
        :raises ClosersConfigError: The connection or an argument is unusable; nothing was sent.
        """
        from airflow_provider_closers.client import ClosersClient
        from airflow_provider_closers.hooks.metrics import PushMetrics
        from airflow_provider_closers.prospect import RecordRules
        from airflow_provider_closers.push.source import records_of
        from airflow_provider_closers.sync.limits import Limits, Removal
        from airflow_provider_closers.sync.lock import locked
        from airflow_provider_closers.sync.run import Sync
        from airflow_provider_closers.sync.snapshot import Snapshot

        _check_arguments(on_reject=on_reject, snapshot_path=snapshot_path)
        account = f"{self.closers_conn_id} at {self.settings.base_url}"
        records = records_of(prospects, "sync")
        snapshot = Snapshot(snapshot_path, account=account, run=None if preview else run)
        rules = RecordRules(
            field_map=field_map,
            other_attributes=other_attributes,
            reset_flags=reset_flags,
            known_emails=snapshot,
        )
        removal = Removal(on_removed=on_removed, field=removed_field)
        limits = Limits(max_removed=max_removed, max_deletes=max_deletes)
        with (
            locked(snapshot_path, run, is_needed=not preview) as lock,
            closing(snapshot),
            closing(ClosersClient(self.settings)) as client,
        ):
            sync = Sync(
                client=client,
                settings=self.settings,
                snapshot=snapshot,
                rules=rules,
                transform=transform,
                removal=removal,
                limits=limits,
                if_missing=if_missing,
                suppression=_suppression_of(suppression),
                preview=preview,
                on_reject=on_reject,
                longest_wait=longest_wait,
                on_interrupt=on_interrupt,
                meter=PushMetrics("sync", self.closers_conn_id),
                check=lock.check,
                confirm=lock.confirm,
            )
            if full_resync:
                snapshot.start_over()
            else:
                snapshot.load()
            report = sync.run(records)
        self._log_what_is_amiss(report)
        return report

    def test_connection(self) -> tuple[bool, str]:
        """
        Tell whether the host is the API and takes the key; the form's *Test* button calls this.

        Sends a POST without the required email, which can create nothing.

        :return: Whether it works, and what came.
        """
        try:
            answer = self.get_conn().send("POST", {})
        except ClosersError as e:
            return False, str(e)
        return _read_test(answer.status, answer.verdict.name, answer.reason)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extras' form fields; Airflow 2.11 asks for them here, 3.x in the provider info."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import IntegerField, StringField
        from wtforms.validators import Optional

        from airflow_provider_closers.get_provider_info import CONN_FIELDS

        # Airflow 2.11 takes no other kinds: a FloatField would cost the hook its registration.
        kinds = {"integer": IntegerField}
        return {
            name: kinds.get(field["schema"]["type"][0], StringField)(
                field["label"],
                description=field["description"],
                default=field["schema"]["default"],
                validators=[Optional()],
                widget=BS3TextFieldWidget(),
            )
            for name, field in CONN_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form shows the standard fields; for Airflow 2.11, as above."""
        from airflow_provider_closers.get_provider_info import UI_FIELD_BEHAVIOUR

        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}

    def _log_what_is_amiss(self, report: PushReport) -> None:
        """Log what of a push somebody should look at."""
        for reject in report.rejects:
            of = reject.email or "no email"
            self.log.warning("Rejected record %s (%s): %s", reject.index, of, reject.reason)
        if report.rejected > len(report.rejects):
            self.log.warning("... and %d more.", report.rejected - len(report.rejects))
        if report.withheld_flags:
            self.log.info(
                "Status flags that were False and not sent: %d; name a flag in reset_flags to reset it.",
                report.withheld_flags,
            )

    @cached_property
    def _client(self) -> ClosersClient:
        from airflow_provider_closers.client import ClosersClient

        return ClosersClient(self.settings)

    @cached_property
    def _caller(self) -> Caller:
        from airflow_provider_closers.push.call import Caller

        return Caller(self.get_conn(), self.settings)

    def _read(self, record: Any, reset_flags: Iterable[str] = (), *, bare_emails: bool = False) -> Prospect:
        from airflow_provider_closers.prospect import RecordRules

        prospect = RecordRules(reset_flags=reset_flags, bare_emails=bare_emails).read(record)
        if prospect.withheld_flags:
            self.log.info(
                "Status flags that were False and not sent: %d; see reset_flags.", prospect.withheld_flags
            )
        return prospect

    def _call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_closers.answer import Verdict
        from airflow_provider_closers.client import error_from
        from airflow_provider_closers.push.journey import Request

        answer = self._caller.call(Request(method, body))
        if answer.verdict is not Verdict.OK:
            raise error_from(method, answer)
        return answer.data


# What an argument must have; and, where it has not, what it must be.
_ARGUMENTS = {
    "on_reject": ("__call__", "a function of one reject"),
    "checkpoint": ("load", "an object with load() and save(state), such as FileCheckpoint"),
    "snapshot_path": ("with_name", "a pathlib.Path or an ObjectStoragePath"),
}


def _check_arguments(**given: Any) -> None:
    """Check arguments that must be able to do something, each by its name."""
    for name, value in given.items():
        attribute, needed = _ARGUMENTS[name]
        if value is not None and not hasattr(value, attribute):
            raise ClosersConfigError(f"{name} is of type {type(value).__name__}; it must be {needed}.")


def _suppression_of(given: Any) -> Suppression | None:
    """Return what tells whether an address is on the list that was given."""
    if isinstance(given, set | frozenset | list | tuple):
        from airflow_provider_closers.suppression import SuppressionList

        return SuppressionList(given, name="that was given")
    # In a path, an address would be looked for letter by letter.
    if isinstance(given, str | Mapping) or not (given is None or hasattr(given, "__contains__")):
        raise ClosersConfigError(
            f"suppression is of type {type(given).__name__}; it must be a list of addresses, or a "
            "SuppressionList (open_suppression_list in operators.suppression makes one of a path or a query)."
        )
    listed: Suppression | None = given
    return listed


def _read_test(status: int | None, verdict: str, reason: str) -> tuple[bool, str]:
    """Tell what the answer to a POST without an email says of the connection."""
    if verdict == "UNAUTHORIZED":
        return False, f"The API refused the key (it answered {status}); check the password."
    if verdict == "REFUSED" and status in (200, 400, 422):
        return True, "The API answered and took the key."
    if verdict == "RATE_LIMITED":
        return False, "The API answers, but has no time now (429, too many requests); try again later."
    came = f"it answered {status}" if status else "no answer came"
    return False, f"This host is not the Closers API: {came}{f' ({reason})' if reason else ''}."
