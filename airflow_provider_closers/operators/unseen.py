"""Prospects that a task is given, kept out of what Airflow and its listeners store of a task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_closers.operators.push import PushOperator


class _Unseen:
    """Holds what those who look at an operator's attributes (OpenLineage's full task info) shall not see."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class UnseenProspects(PushOperator):
    """A push with an attribute ``prospects``, a templated field, which nobody sees but the task itself."""

    @property
    def prospects(self) -> Any:
        """The records, or what is rendered to them."""
        return self._prospects.value

    @prospects.setter
    def prospects(self, prospects: Any) -> None:
        self._prospects = _Unseen(prospects)

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> None:
        """
        Render the fields, and then keep the records out of what Airflow stores of them.

        Airflow writes the rendered value of each of ``template_fields`` into its database, for
        everybody to see who may see the task; that of prospects would be people's data, and takes
        seconds where they are many. (A private method of Airflow's, because a mapped task is rendered
        by no other.)
        """
        super()._do_render_template_fields(parent, template_fields, *args, **kwargs)
        self.template_fields = tuple(name for name in self.template_fields if name != "prospects")
