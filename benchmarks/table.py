"""Tables in plain text that are Markdown as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTHING = "-"


def render(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table: the first column to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(cells, widths) for cells in [lines[0], ruler, *lines[1:]])


def number(value: float | None, digits: int = 0) -> str:
    """Return a number as it stands in a cell."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def per_cent(share: float | None) -> str:
    """Return a share as it stands in a cell."""
    return NOTHING if share is None else f"{share:.1%}"


def mebibytes(size: float | None) -> str:
    """Return an amount of memory as it stands in a cell."""
    return number(size / 2**20 if size else None)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = [
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join([first, *others]) + " |"
