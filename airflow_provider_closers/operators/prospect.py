"""Operators that create, update and delete the prospects that upstream tasks produced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_closers.operators.push import PushOperator
from airflow_provider_closers.operators.unseen import UnseenProspects


class _ProspectOperator(UnseenProspects):
    """Pushes records that it is given; what the three operators share."""

    template_fields: Sequence[str] = ("prospects", *PushOperator.template_fields)

    def __init__(self, *, prospects: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prospects = prospects

    def _records(self, context: Any) -> Iterable[Any]:  # noqa: ARG002 - it takes none of it
        from airflow_provider_closers.push.source import records_of

        return records_of(self.prospects, self.operation)


class CreateProspectOperator(_ProspectOperator):
    """
    Adds prospects to Closers. A second run is harmless: who is there already is skipped.

    Takes the parameters of :class:`~airflow_provider_closers.operators.push.PushOperator` that
    concern creating, and these:

    :param prospects: One record or any iterable of them (templated).
    :param if_exists: What to do about a prospect that is there already: ``skip`` it (default),
        ``update`` it, or ``fail`` the record.
    """

    def __init__(self, *, prospects: Any, if_exists: str = "skip", **kwargs: Any) -> None:
        super().__init__(operation="create", prospects=prospects, if_exists=if_exists, **kwargs)


class UpdateProspectOperator(_ProspectOperator):
    """
    Changes the given fields of prospects; what is absent or ``None`` in a record is left alone.

    Takes the parameters of :class:`~airflow_provider_closers.operators.push.PushOperator` that
    concern updating, and these:

    :param prospects: One record or any iterable of them (templated).
    :param if_missing: What to do where no prospect has the email: ``fail`` the record (default),
        ``skip`` it, or ``create`` the prospect.
    """

    def __init__(self, *, prospects: Any, if_missing: str = "fail", **kwargs: Any) -> None:
        super().__init__(operation="update", prospects=prospects, if_missing=if_missing, **kwargs)


class DeleteProspectOperator(_ProspectOperator):
    """
    Removes prospects from the account and from every campaign, for good.

    Takes the parameters of :class:`~airflow_provider_closers.operators.push.PushOperator` that
    concern deleting, and these:

    :param prospects: One email or record, or any iterable of them (templated).
    :param if_missing: What to do where no prospect has the email: ``skip`` it (default), or ``fail``
        the record.
    :param max_deletes: How many records the task may delete; more is an error before the first
        request.
    """

    def __init__(
        self, *, prospects: Any, if_missing: str = "skip", max_deletes: int = 100, **kwargs: Any
    ) -> None:
        super().__init__(
            operation="delete",
            prospects=prospects,
            if_missing=if_missing,
            max_deletes=max_deletes,
            **kwargs,
        )
