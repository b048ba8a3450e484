"""The rows where a transfer finds them: in files, and in a database. They are never all in memory."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from benchmarks.airflow_home import CHECKOUT
from benchmarks.contenders.readers import TABLE
from benchmarks.contenders.rows import rows
from benchmarks.machine import version

# The server that the tests start and throw away: nobody's own is written to.
sys.path.append(str(CHECKOUT / "tests" / "stand_ins"))

from postgresql import PostgresqlServer, postgresql_server, programs

#: What a contender reads from, and what it takes to make it.
NEEDS = {
    "csv": (),
    "jsonl": (),
    "parquet": ("pyarrow",),
    "postgresql": ("PostgreSQL's initdb and postgres", "apache-airflow-providers-postgres"),
}
_ROW_GROUP = 100_000


def missing(name: str) -> bool:
    """Tell whether this machine is without something: a distribution, or PostgreSQL's programs."""
    return programs() is None if "initdb" in name else version(name) is None


@contextmanager
def inputs(records: int, home: Path) -> Iterator[dict[str, str]]:
    """
    Write the rows wherever that is possible here, and yield where they are until the end of the block.

    :param records: How many rows.
    :param home: The folder for the files.
    :return: By the names in :data:`NEEDS`, a file's path, or Airflow's connection to the database as JSON.
    """
    possible = [name for name, needs in NEEDS.items() if not any(map(missing, needs))]
    files = {name: home / f"leads.{name}" for name in possible if name != "postgresql"}
    write = {"csv": _write_csv, "jsonl": _write_json_lines, "parquet": _write_parquet}
    for name, path in files.items():
        write[name](records, path)
    made = {name: str(path) for name, path in files.items()}
    if "postgresql" not in possible:
        yield made
        return
    # It stays on this process's core, which is the sandbox's.
    with postgresql_server() as server:
        _fill(server, files["csv"])
        yield {**made, "postgresql": json.dumps(server.airflow_connection)}


def _write_csv(records: int, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns())
        writer.writeheader()
        writer.writerows(rows(records, None))


def _write_json_lines(records: int, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(records, None))


def _write_parquet(records: int, path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    left = rows(records, None)
    schema = pa.schema([(name, pa.string()) for name in _columns()])
    with ParquetWriter(path, schema) as writer:
        while group := list(islice(left, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _fill(server: PostgresqlServer, csv_file: Path) -> None:
    import psycopg2  # comes with Airflow's provider for PostgreSQL

    columns = ", ".join(f"{name} text" for name in _columns())
    with closing(psycopg2.connect(server.conninfo)) as connection:
        connection.autocommit = True  # VACUUM wants no transaction
        with connection.cursor() as cursor, csv_file.open(encoding="utf-8") as file:
            # Nothing is to be left that the server would do while it is read from.
            cursor.execute(f"CREATE UNLOGGED TABLE {TABLE} ({columns})")
            cursor.copy_expert(f"COPY {TABLE} FROM STDIN (FORMAT csv, HEADER)", file)
            cursor.execute(f"VACUUM ANALYZE {TABLE}")
            cursor.execute("CHECKPOINT")


def _columns() -> list[str]:
    return list(next(rows(1, None)))
