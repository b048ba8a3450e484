"""The records of a Parquet file. Only this module imports pyarrow, where it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.sources.columns import check_names
from airflow_provider_closers.sources.content import opened_to_seek

_OLDEST_PYARROW = 20  # The first that makes a dict of a map.
_ROWS = 4_096  # At a time.
_BUFFER = 1 << 20  # Bytes of a column at a time.


def check_pyarrow(path: Path) -> None:
    """Raise a :class:`ClosersConfigError` where pyarrow, which a file takes, is missing or too old."""
    way_out = "pip install 'airflow-provider-closers[parquet]'."
    try:
        import pyarrow.parquet
    except ImportError as e:
        raise ClosersConfigError(f"{str(path)!r} is Parquet, which takes pyarrow: {way_out}") from e
    if int(pyarrow.__version__.partition(".")[0]) < _OLDEST_PYARROW:
        raise ClosersConfigError(
            f"{str(path)!r} is Parquet, which takes pyarrow {_OLDEST_PYARROW} or later; this is "
            f"{pyarrow.__version__}: {way_out}"
        )


def parquet_records(path: Path) -> Iterator[list[Any]]:
    """
    Yield the rows of a Parquet file, some at a time.

    A map is a dict; of times, what is finer than a microsecond is cut off. A row with a value that
    Python can't hold (a date in the year 20000) is unreadable.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    :return: Lists of mappings and :class:`~airflow_provider_closers.push.source.Unreadable`.
    :raises ClosersConfigError: It is not Parquet, or has a column twice.
    """
    from pyarrow.parquet import ParquetFile

    with opened_to_seek(path) as content:
        _check_start(content.read(4), path)
        content.seek(0)
        # So that of a row group no more than this is in memory.
        with ParquetFile(content, pre_buffer=False, buffer_size=_BUFFER) as file:
            check_names(file.schema_arrow.names, repr(str(path)), "Nothing of it was sent.")
            number = 1
            for batch in file.iter_batches(_ROWS, use_threads=False):
                yield list(_records(_plain(batch), path, number))
                number += batch.num_rows


def _check_start(start: bytes, path: Path) -> None:
    if start != b"PAR1":
        raise ClosersConfigError(
            f"{str(path)!r} is not Parquet; file_format says what it is. Nothing of it was sent."
        )


def _records(batch: Any, path: Path, number: int) -> Iterator[Any]:
    names = batch.schema.names
    try:
        columns = [_values(column) for column in batch.columns]
    except Exception:  # noqa: BLE001 - whatever it is, the other rows are to be read
        if batch.num_rows == 1:
            yield _unreadable(batch, path, number)
        else:
            for row in range(batch.num_rows):
                yield from _records(batch.slice(row, 1), path, number + row)
        return
    for values in zip(*columns):  # noqa: B905 - they are as long
        yield dict(zip(names, values))  # noqa: B905 - as many


def _values(column: Any) -> list[Any]:
    values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    return values


def _unreadable(row: Any, path: Path, number: int) -> Unreadable:
    raw: dict[str, Any] = {}
    bad = []
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            (raw[name],) = _values(column)
        except Exception as e:  # noqa: BLE001 - as above
            raw[name] = f"a {column.type} that can't be read ({type(e).__name__})"
            bad.append(name)
    return Unreadable(
        raw, f"row {number} of {path.name} has what Python can't hold in {', '.join(map(repr, bad))}"
    )


# -- what Python's own types hold


def _plain(batch: Any) -> Any:
    """Return a batch whose times are no finer than Python's; for finer ones pyarrow wants pandas."""
    import pyarrow as pa

    columns = [_plain_column(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain_column(column: Any) -> Any:
    plain = _plain_type(column.type)
    return column if plain == column.type else column.cast(plain, safe=False)


def _plain_type(kind: Any) -> Any:
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind
