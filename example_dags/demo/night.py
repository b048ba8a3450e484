"""`make demo`: one night of leads through a real Airflow into a sandbox of Closers, and an account of it."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import lead_warehouse

from airflow_provider_closers.sandbox.server import SandboxServer
from demo import airflow_home, earlier_import
from demo.account import Check, print_checks, print_table

DAG_ID = "closers_nightly_leads"
PUSHES = ("create_prospects", "update_statuses", "delete_erased")
HOME = airflow_home.CHECKOUT / ".demo"

# The columns of the account, with the words that stand above them.
COLUMNS = {
    "total": "read",
    "created": "created",
    "existing": "existing",
    "updated": "updated",
    "deleted": "deleted",
    "missing": "missing",
    "suppressed": "suppressed",
    "filtered": "filtered",
    "rejected": "rejected",
    "unresolved": "unresolved",
    "withheld_flags": "withheld flags",
    "requests": "requests",
}


def main() -> int:
    """Run the night and print the account; 0 where the sandbox agrees with it."""
    # A terminal that knows no check mark shows a question mark.
    sys.stdout.reconfigure(errors="replace")
    try:
        airflow_home.migrate(HOME)
        with SandboxServer() as sandbox:
            sandbox.add_prospects(earlier_import.prospects())
            held = sandbox.count()
            airflow, leads = metadata.version("apache-airflow"), len(lead_warehouse.read_leads())
            print(f"Airflow {airflow} runs {DAG_ID}: {leads} leads of a SQLite warehouse,")
            print(f"into a sandbox of Closers that holds {held} prospects already", flush=True)
            reports = run_night(sandbox)
            checks = compare(reports, held, sandbox)
    except airflow_home.AirflowFailedError as e:
        print(f"\n{e}", file=sys.stderr)
        return 1
    print_account(reports, checks)
    return 0 if all(check.agrees for check in checks) else 1


def run_night(sandbox: SandboxServer) -> dict[str, dict[str, Any]]:
    """Run the DAG against the sandbox; the reports of its pushes, by task."""
    connection = {"conn_type": "closers", "host": sandbox.url, "password": sandbox.api_key}
    environ = airflow_home.environment(HOME, AIRFLOW_CONN_CLOSERS_DEFAULT=json.dumps(connection))
    reports_path = HOME / "reports.json"
    airflow_home.run_to_end(
        f"The run of {DAG_ID}",
        ["-m", "demo.run_dag", DAG_ID, str(reports_path)],
        environ,
        HOME / "night.log",
    )
    reports = json.loads(reports_path.read_text(encoding="utf-8"))
    return {task: reports[task] for task in PUSHES}


def compare(reports: dict[str, dict[str, Any]], held: int, sandbox: SandboxServer) -> list[Check]:
    """Set what the pushes report beside what the sandbox saw."""

    def reported(count: str) -> int:
        return sum(report[count] for report in reports.values())

    journal = sandbox.journal()
    written = [entry for entry in journal if entry.wrote]
    return [
        Check("prospects added", reported("created"), sum(entry.method == "POST" for entry in written)),
        Check("prospects erased", reported("deleted"), sum(entry.method == "DELETE" for entry in written)),
        Check("requests", reported("requests"), len(journal)),
        # Every flag that is False stays here, so that nobody who opted out is contacted again.
        Check("flags set back to false", 0, sum(list(entry.body.values()).count(False) for entry in journal)),
        Check(
            f"prospects now ({held} + {reported('created')} - {reported('deleted')})",
            held + reported("created") - reported("deleted"),
            sandbox.count(),
        ),
    ]


def print_account(reports: dict[str, dict[str, Any]], checks: list[Check]) -> None:
    """Print what happened, as briefly as it can be said."""
    occurred = [column for column in COLUMNS if any(report[column] for report in reports.values())]
    print_table(
        ["", *(COLUMNS[column] for column in occurred)],
        ([task, *(str(report[column] or "") for column in occurred)] for task, report in reports.items()),
    )

    print("  Withheld flags are False: not sent, so that no stale row re-opens contact with anybody.")

    for task, report in reports.items():
        for reject in report["rejects"]:
            print(
                f"\nRejected by {task}, record {reject['index']} ({reject['email']}):\n  {reject['reason']}"
            )
        if report["rejects_path"]:
            rejects = Path(report["rejects_path"]).relative_to(airflow_home.CHECKOUT)
            print(f"  The full record: {rejects}")

    print_checks("reported", checks)
    if not all(check.agrees for check in checks):
        print(f"\nThe sandbox saw something else than was reported; Airflow's log is {HOME / 'night.log'}")
        return
    print("\nNext: 'make ui' shows the same in Airflow's web interface, beside the sandbox's page.")


if __name__ == "__main__":
    sys.exit(main())
