"""``python -m benchmarks``: measure, and print the tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import machine, memory, pace, suppression, sync, throughput, transfers
from benchmarks.run import ContenderFailedError

TABLES = {
    "throughput": throughput,
    "pace": pace,
    "memory": memory,
    "transfers": transfers,
    "suppression": suppression,
    "sync": sync,
}


def main() -> int:
    """Run what the command line asks for; 0 where every count agreed with the sandbox's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=TABLES, action="append", help="this table (again for another)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="see that it runs; the figures mean nothing")
    size.add_argument("--full", action="store_true", help="a million records for memory, transfers and sync")
    options = parser.parse_args()

    machine.keep_to(machine.SERVER_CORE)
    print(machine.description(), flush=True)
    with tempfile.TemporaryDirectory(prefix="closers-benchmarks-") as home:
        for name in options.only or TABLES:
            module = TABLES[name]
            scale = module.QUICK if options.quick else module.Scale()
            if options.full:
                scale = getattr(module, "FULL", scale)
            try:
                for text in module.tables(scale, Path(home)):
                    print(f"\n{text}", flush=True)
            except ContenderFailedError as e:
                print(f"\n{e}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
