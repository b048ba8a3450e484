"""Transfer of a file's records to Closers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_closers.operators.push import PushOperator


class FileToClosersOperator(PushOperator):
    """
    Pushes the records of a file, of a folder of files, or of those that a pattern matches.

    Files are CSV, JSON Lines or Parquet (extra ``parquet``), each also compressed with gzip, on any
    ObjectStoragePath. They are read as they are pushed: memory doesn't grow with their number of
    records. A line that can't be read is a reject with its line number. The rejects file of an
    earlier push, mended, is valid input.

    Takes every parameter of :class:`~airflow_provider_closers.operators.push.PushOperator`, and these:

    :param path: A file, a folder (every file in it, in name order), or a pattern such as
        ``s3://lake/leads/*.csv`` or ``s3://lake/leads/**/*.parquet`` (templated). A connection's id may
        stand before an ``@``: ``s3://aws_lake@bucket/leads.csv``. Where there is no file, the task fails.
    :param operation: ``create``, ``update``, ``upsert`` or ``delete``.
    :param file_format: ``csv``, ``jsonl`` or ``parquet``; by default what each file's name says.
    :param encoding: Of CSV and JSON Lines; a byte order mark is skipped.
    :param csv_options: What Python's ``csv.DictReader`` takes, such as ``{"delimiter": ";"}``, or
        ``{"fieldnames": [...]}`` where the first line doesn't name the columns. An empty cell means
        *not given*.
    """

    template_fields: Sequence[str] = ("path", *PushOperator.template_fields)

    def __init__(
        self,
        *,
        path: str,
        operation: str,
        file_format: str | None = None,
        encoding: str = "utf-8",
        csv_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(operation=operation, **kwargs)
        self.path = path
        self.file_format = file_format
        self.encoding = encoding
        self.csv_options = csv_options

    def _records(self, context: Any) -> Iterable[Any]:
        from airflow_provider_closers.operators.inputs import file_records

        return file_records(
            self.path,
            self.file_format,
            self.encoding,
            self.csv_options,
            rejects_path=self.rejects_path,
            context=context,
        )
