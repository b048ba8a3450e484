"""Accounts in print: what was reported or allowed beside what the sandbox saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Check:
    """One number that Airflow's reports and the sandbox have to agree on."""

    what: str
    ours: int
    sandbox: int

    @property
    def agrees(self) -> bool:
        """Whether they do."""
        return self.ours == self.sandbox


@dataclass(frozen=True)
class Limit(Check):
    """A number that the sandbox must not see exceeded."""

    @property
    def agrees(self) -> bool:
        """Whether it is not."""
        return self.sandbox <= self.ours


def print_checks(header: str, checks: Iterable[Check]) -> None:
    """Print checks, with this word above our numbers."""
    print_table(
        ["", header, "sandbox", ""],
        ([c.what, str(c.ours), str(c.sandbox), "✓" if c.agrees else "✗ MISMATCH"] for c in checks),
    )


def print_table(header: list[str], rows: Iterable[list[str]]) -> None:
    """Print rows under a header: the first column to the left, the numbers to the right."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print()
    for first, *others in table:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print(f"  {first.ljust(widths[0])}  {'  '.join(cells)}".rstrip())
