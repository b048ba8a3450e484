"""``python -m airflow_provider_closers.suppression``: import into a list, ask it, count it, tidy it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from airflow_provider_closers.errors import ClosersError
from airflow_provider_closers.suppression.entry import is_address

_ON_THE_LIST, _NOT_ON_THE_LIST, _FAILED = 0, 1, 2
_FAULTS_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command; see ``--help``.

    :param arguments: The command line; the process's own by default.
    :return: The exit code.
    """
    # As Airflow's own commands do, or connections and variables in its database would not be found.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    options = vars(_parser().parse_args(arguments))
    try:
        code: int = options.pop("command")(**options)
    except (ClosersError, OSError) as e:
        return _fail(str(e))
    except Exception as e:  # noqa: BLE001 - Python's own exit code says that somebody is not on the list
        return _fail(f"{type(e).__name__}: {e}")
    return code


def _import(source: str, path: str, column: str) -> int:
    from airflow_provider_closers.operators.paths import storage_path
    from airflow_provider_closers.operators.suppression import open_suppression_list
    from airflow_provider_closers.suppression.importing import import_addresses

    faults: list[str] = []
    imported = import_addresses(
        storage_path(_whole(source)),
        open_suppression_list(_whole(path), create=True),
        column=column,
        on_fault=lambda fault: faults.append(fault) if len(faults) < _FAULTS_SHOWN else None,
    )
    _say(f"{imported.addresses:,} addresses read, {imported.added:,} of them new to the list.")
    for fault in faults:
        _fail(fault)
    if imported.faults:
        return _fail(f"Records without an address: {imported.faults:,}. The others were imported.")
    return 0


def _check(path: str, address: str | None) -> int:
    from airflow_provider_closers.operators.suppression import open_suppression_list

    address = (address or _asked()).strip()
    if not is_address(address):
        return _fail("That is no address.")
    if address in open_suppression_list(_whole(path)):
        _say("It is on the list.")
        return _ON_THE_LIST
    _say("It is not on the list.")
    return _NOT_ON_THE_LIST


def _count(path: str) -> int:
    from airflow_provider_closers.operators.suppression import open_suppression_list

    _say(f"{open_suppression_list(_whole(path)).count():,}")
    return 0


def _merge(path: str) -> int:
    from airflow_provider_closers.operators.paths import storage_path
    from airflow_provider_closers.operators.suppression import open_suppression_list
    from airflow_provider_closers.suppression.files import list_file

    open_suppression_list(_whole(path))  # What is malformed is for a human to see before it is moved.
    list_file(storage_path(_whole(path))).merge_parts()
    return 0


def _whole(path: str) -> str:
    """Return a path that doesn't begin in the working folder, of which Airflow 2 knows nothing."""
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100 - it resolves links, too


def _asked() -> str:
    try:
        return input("Address: " if sys.stdin.isatty() else "")
    except EOFError:
        return ""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _fail(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_closers.suppression",
        description="Look after a suppression list. Paths are of any storage that Airflow knows; the hashes' "
        "key is the password of the connection closers_suppression or, without one, the Variable "
        "closers_suppression_secret.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("import", help="put a file's addresses on the list, as keyed hashes")
    command.add_argument("source", metavar="SOURCE", help="CSV, JSON Lines, Parquet; or one address a line")
    command.add_argument("path", metavar="LIST", help="the list's file")
    command.add_argument("--column", default="email", help="where the addresses are (%(default)s)")
    command.set_defaults(command=_import)

    command = commands.add_parser("check", help="exit with 0 if an address is on the list, 1 if it is not")
    command.add_argument("path", metavar="LIST", help="the list's file")
    command.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        help="asked for, or read from stdin, if it is not given: other users see a process's arguments",
    )
    command.set_defaults(command=_check)

    for name, run, text in (
        ("count", _count, "count the entries"),
        ("merge", _merge, "in an object store, make few objects of the many that tasks added"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("path", metavar="LIST", help="the list's file")
        command.set_defaults(command=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
