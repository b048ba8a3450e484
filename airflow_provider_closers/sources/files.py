"""The records of files, whichever format each of them has."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from airflow_provider_closers.choices import check_choice
from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.source import Source
from airflow_provider_closers.sources.csv_records import CsvFormat, csv_records
from airflow_provider_closers.sources.finding import files_at
from airflow_provider_closers.sources.json_lines import json_line_records
from airflow_provider_closers.sources.parquet import check_pyarrow, parquet_records
from airflow_provider_closers.storage import local_path

FORMATS = ("csv", "jsonl", "parquet")

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


class FileRecords(Source):
    """
    The records of a file, of the files in a folder, or of those that match a pattern.

    Each iteration reads the files anew, one after the other in the order of their names, and holds a
    few of their records at a time. Yielded are mappings; what stands for an email, a string; and
    :class:`~airflow_provider_closers.push.source.Unreadable` in place of what can't be read. A file
    that is damaged as a whole raises.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``: a file, a folder without folders in it,
        or a pattern (``*``, ``?``, ``[``, ``**``) for files.
    :param file_format: One of :data:`FORMATS`; unless given, the suffix of each file says it (``.csv``,
        ``.tsv``, ``.jsonl``, ``.ndjson``, ``.json``, ``.parquet``, ``.pq``, each with ``.gz`` or without).
    :param encoding: Of CSV and JSON Lines; a byte order mark is left out.
    :param csv_options: What ``csv.DictReader`` takes; see
        :class:`~airflow_provider_closers.sources.csv_records.CsvFormat`.
    :param output: A file that is written meanwhile, and must not be among them.
    :raises ClosersConfigError: An argument is wrong. When it is iterated over: there is no such file, or
        one of another format, or the output is one of them.
    """

    def __init__(
        self,
        path: Path,
        *,
        file_format: str | None = None,
        encoding: str = "utf-8",
        csv_options: Mapping[str, Any] | None = None,
        output: Path | None = None,
    ) -> None:
        if file_format is not None:
            check_choice("file_format", file_format, FORMATS)
        _check_encoding(encoding)
        self._path = path
        self._format = file_format
        self._encoding = encoding
        self._csv_format = CsvFormat(csv_options)
        self._output = output

    def __iter__(self) -> Iterator[Any]:
        # All formats are known before the first record leaves.
        files = files_at(self._path)
        self._check_output(files)
        formats = [(file, self._format_of(file)) for file in files]
        for file, file_format in formats:
            try:
                for records in self._batches_of(file, file_format):
                    yield from records
            except ClosersConfigError:
                raise
            except Exception as e:
                e.add_note(f"This came while {str(file)!r} was read.")
                raise

    def _check_output(self, files: list[Path]) -> None:
        if self._output is not None and _place(self._output) in map(_place, files):
            raise ClosersConfigError(
                f"{str(self._output)!r} is to be read, and to be written with the rejects; give them another "
                "rejects_path. Nothing was sent."
            )

    def _format_of(self, file: Path) -> str:
        file_format = self._format or format_by_name(file)
        if file_format is None:
            raise ClosersConfigError(
                f"By its name, {str(file)!r} is of no format that is read here; set file_format to one of "
                f"{', '.join(FORMATS)}. Nothing was sent."
            )
        if file_format == "parquet":
            check_pyarrow(file)
        return file_format

    def _batches_of(self, file: Path, file_format: str) -> Iterator[list[Any]]:
        match file_format:
            case "csv":
                return csv_records(file, encoding=self._encoding, csv_format=self._csv_format)
            case "jsonl":
                return json_line_records(file, encoding=self._encoding)
            case _:
                return parquet_records(file)


def format_by_name(file: Path) -> str | None:
    """Return the one of :data:`FORMATS` that a file's name ends for, ``None`` if there is none."""
    return _SUFFIXES.get(PurePath(file.name.lower().removesuffix(".gz")).suffix)


def _place(file: Path) -> str:
    local = local_path(file)
    return str(file if local is None else local.resolve())


def _check_encoding(encoding: Any) -> None:
    try:
        "x".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, TypeError, UnicodeError) as e:
        raise ClosersConfigError(f"encoding is {encoding!r}, which Python does not know.") from e
