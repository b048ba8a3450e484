"""The example DAGs, run by Airflow against the sandbox; what they did is read from the sandbox."""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_closers.sandbox.server import SandboxServer

EXAMPLE_DAGS = Path(__file__).resolve().parent.parent / "example_dags"

AIRFLOW_VERSION = tuple(int(part) for part in airflow.__version__.split(".")[:2])

needs_human_in_the_loop = pytest.mark.skipif(
    AIRFLOW_VERSION < (3, 3),
    reason="an operator can ask a human since Airflow 3.1, and a DAG under test wait for one since 3.3",
)

# What Airflow's own code warns of, once it runs: not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern .*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`"),
    pytest.mark.filterwarnings("ignore:The 'alias' attribute with value .*:UserWarning"),
]

MALFORMED = "t.adeyemi(at)harbourline.example.com"
OPTED_OUT = "helene.garcon@tramontane.example.com"


def leads() -> list[dict[str, str]]:
    with (EXAMPLE_DAGS / "data" / "leads.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def emails_to_erase() -> set[str]:
    return {lead["email"] for lead in leads() if lead["erasure_requested_on"]}


@pytest.fixture(scope="module")
def dags(airflow_db: Path) -> dict[str, Any]:
    from airflow.models import DAG, DagBag

    bag = DagBag(dag_folder=str(EXAMPLE_DAGS))
    assert bag.import_errors == {}
    if AIRFLOW_VERSION < (3, 0):
        # An event needs its dataset in the database; later versions see to that when a DAG is tested.
        DAG.bulk_write_to_db(bag.dags.values())
    return dict(bag.dags)


@pytest.fixture
def closers(sandbox: SandboxServer, closers_connection: str) -> SandboxServer:
    """A sandbox that holds the prospects of the earlier import."""
    from demo import earlier_import

    sandbox.add_prospects(earlier_import.prospects())
    assert sandbox.count() == 61
    return sandbox


@pytest.fixture
def run(dags: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    from airflow.models import DagBag

    def run(
        dag_id: str, *, at: datetime | None = None, ends_as: str = "success", **arguments: Any
    ) -> dict[str, Any]:
        """
        Run a DAG to its end; what its tasks returned, by task id, those of mapped tasks apart.

        With a time of day in `at`, it is as if somebody had triggered it then; Airflow 3 gives such a run
        no data interval. With a midnight, it is the run whose interval ends then.
        """
        if at is not None and AIRFLOW_VERSION < (3, 0):
            arguments["execution_date"] = at
        elif at is not None:
            arguments |= {"logical_date": None if at.hour else at, "run_after": at}
        # Read anew, since the parameters that a run under test is given stay behind in the DAG.
        dag = (
            DagBag(dag_folder=dags[dag_id].fileloc).dags[dag_id] if "run_conf" in arguments else dags[dag_id]
        )
        dag_run = dag.test(**arguments)
        assert dag_run.state == ends_as
        tasks = [task for task in dag_run.get_task_instances() if task.map_index < 0]
        return {task.task_id: task.xcom_pull(task_ids=task.task_id) for task in tasks}

    return run


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A warehouse of the test's own, and the connection `warehouse` that leads there."""
    import lead_warehouse

    monkeypatch.setattr(lead_warehouse, "EXAMPLES_HOME", tmp_path)
    path = lead_warehouse.ready()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


def rows(warehouse: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(warehouse)) as connection:
        return connection.execute(sql).fetchall()


def change(warehouse: Path, sql: str) -> None:
    with closing(sqlite3.connect(warehouse)) as connection, connection:
        connection.execute(sql)


def sent(sandbox: SandboxServer) -> Counter[tuple[str, int | str]]:
    """How many requests of each method got which status."""
    return Counter((entry.method, entry.status) for entry in sandbox.journal())


def counts(report: dict[str, Any]) -> dict[str, int]:
    """The outcomes that occurred."""
    outcomes = [
        "created",
        "updated",
        "deleted",
        "existing",
        "missing",
        "suppressed",
        "filtered",
        "rejected",
        "unresolved",
        "unchanged",
        "kept",
        "postponed",
    ]
    # The last three are in a sync's report only.
    there = {outcome: report.get(outcome, 0) for outcome in outcomes}
    assert sum(there.values()) == report["total"]
    return {outcome: count for outcome, count in there.items() if count}


def test_every_example_parses(dags):
    expected = {
        "closers_chunked_leads",
        "closers_erasure_requests",
        "closers_incremental_leads",
        "closers_lake_files",
        "closers_nightly_leads",
        "closers_push_rejects_again",
        "closers_refreshed_leads",
        "closers_replies_by_hook",
        "closers_warehouse_refresh",
        "closers_warehouse_sync",
    }
    if AIRFLOW_VERSION >= (3, 1):
        expected.add("closers_guarded_erasure")

    assert set(dags) == expected
    assert all(dag.doc_md.strip().startswith("### ") for dag in dags.values())
    assert all(set(dag.tags) == {"closers", "example"} for dag in dags.values())


# What a DAG file may not do while it is parsed, which Airflow does all day.
PARSE_ALONE = """
import sys

import airflow.models
import airflow.providers.common.compat.sdk

FORBIDDEN = {"socket.connect", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen"}

def forbid(event, args):
    if event in FORBIDDEN:
        raise RuntimeError(f"{event} while a DAG file is parsed: {args}")

sys.path.insert(0, sys.argv[1])
sys.addaudithook(forbid)
for example in sys.argv[2:]:
    __import__(example)
"""


def test_parsing_reaches_for_no_network_and_no_database(tmp_path, monkeypatch):
    examples = sorted(path.stem for path in EXAMPLE_DAGS.glob("closers_*.py"))
    monkeypatch.setenv("CLOSERS_EXAMPLES_HOME", str(tmp_path / "home"))

    parsed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE_ALONE, str(EXAMPLE_DAGS), *examples],
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(examples) == 9
    assert parsed.returncode == 0, parsed.stderr
    assert not (tmp_path / "home").exists()


def test_every_lead_has_an_address_of_nobody():
    for lead in leads():
        domain = lead["email"].lower().rpartition("(at)" if lead["email"] == MALFORMED else "@")[2]
        assert domain.split(".")[-2:] in (["example", "com"], ["example", "org"], ["example", "net"])


def test_a_night_adds_updates_and_erases(run, closers):
    returned = run("closers_nightly_leads")

    create, update, delete = (
        returned[task] for task in ("create_prospects", "update_statuses", "delete_erased")
    )
    assert counts(create) == {"created": 336, "existing": 56, "rejected": 1}
    assert counts(update) == {"updated": 98}
    assert update["withheld_flags"] == 310
    assert counts(delete) == {"deleted": 5, "missing": 2}

    prospects = {prospect["email"]: prospect for prospect in closers.prospects()}
    assert len(prospects) == 61 + 336 - 5
    assert not emails_to_erase() & set(prospects)
    assert prospects["yamada.hanako@hinode-robotics.example.com"] == {
        "email": "yamada.hanako@hinode-robotics.example.com",
        "firstName": "花子",
        "lastName": "山田",
        "title": "購買部長",
        "otherAttribute": {"company": "Hinode Robotics", "city": "名古屋", "plan": "team"},
    }
    # NULL is not given, rather than an empty text.
    assert prospects["accounts@example.net"] == {"email": "accounts@example.net"}
    # The first of two rows is applied first, and create leaves the prospect alone after that.
    assert prospects["priya.raman@marigoldpay.example.com"]["title"] == "Head of People"
    assert {"dale+webinar@example.org", "dale+newsletter@example.org"} <= set(prospects)

    journal = closers.journal()
    assert len(journal) == sum(report["requests"] for report in (create, update, delete))
    assert sent(closers)["POST", 201] == 336
    assert sent(closers)["DELETE", 200] == 5
    # Nothing of the malformed email, and nobody who is to be erased was added first.
    assert not any("adeyemi(at)" in json.dumps(entry.body) for entry in journal)
    assert not emails_to_erase() & {entry.email for entry in journal if entry.method != "DELETE"}

    rejects = [json.loads(line) for line in Path(create["rejects_path"]).read_text("utf-8").splitlines()]
    assert [reject["record"]["email"] for reject in rejects] == [MALFORMED]
    assert create["rejects"][0]["email"].startswith("t***")


def test_who_opted_out_is_not_written_to_again(run, closers):
    run("closers_nightly_leads")

    assert closers.prospect(OPTED_OUT)["unSubscribed"] is True
    assert not any(entry.method == "POST" and entry.email == OPTED_OUT for entry in closers.journal())
    # The stale row was read, and what it says of the other flags was sent; but no flag was ever cleared.
    assert len([entry for entry in closers.journal() if entry.email == OPTED_OUT]) == 2
    assert not any(value is False for entry in closers.journal() for value in entry.body.values())


def test_chunks_add_up_and_share_a_pool(run, dags, closers):
    returned = run("closers_chunked_leads")

    assert returned["total"] == {"created": 336, "updated": 56, "rejected": 1}
    assert closers.count() == 61 + 336
    # Both rows of one person went through the same chunk, in their order.
    assert closers.prospect("priya.raman@marigoldpay.example.com")["title"] == "Chief Financial Officer"
    assert dags["closers_chunked_leads"].get_task("push_chunk").partial_kwargs["pool"] == "closers_api"


def test_a_task_of_one_s_own_pushes_with_the_hook(run, closers):
    replied = [lead["email"] for lead in leads() if lead["replied"] == "1"]
    known = replied[:5]
    closers.add_prospects([{"email": email} for email in known])

    returned = run("closers_replies_by_hook")
    again = run("closers_replies_by_hook")

    assert counts(returned["push_replies"]) == {"updated": 5, "missing": len(replied) - 5}
    assert all(closers.prospect(email)["replied"] for email in known)
    assert again["say"].startswith(f"5 of {len(replied)} who replied are prospects")
    # Our own mailbox was added by the first run, and found by the second.
    ours = [entry for entry in closers.journal() if entry.email == "team@ourcompany.example.com"]
    assert [(entry.method, entry.status) for entry in ours] == [("POST", 201), ("POST", 409), ("PATCH", 200)]


def midnight(day: int) -> datetime:
    """When a day of November begins."""
    return datetime(2026, 11, day, tzinfo=UTC)


def written_emails(sandbox: SandboxServer) -> set[str]:
    return {entry.email for entry in sandbox.journal() if entry.wrote}


def test_the_windows_of_days_push_each_change_once(run, closers, warehouse):
    # The last second of one day, and the first of the next.
    change(warehouse, "UPDATE leads SET updated_at = '2026-11-20T23:59:59Z' WHERE id = 3")
    change(warehouse, "UPDATE leads SET updated_at = '2026-11-21T00:00:00Z' WHERE id = 4")
    reports, pushed = {}, {}
    # Three nights, and then two days from before, as a backfill runs them.
    for day in (20, 21, 22, 18, 19):
        before = written_emails(closers)
        reports[day] = run("closers_incremental_leads", at=midnight(day + 1))["push_changed"]
        pushed[day] = written_emails(closers) - before

    assert {day: counts(report) for day, report in reports.items()} == {
        18: {"created": 13, "suppressed": 1},
        19: {"created": 19, "suppressed": 1},
        20: {"created": 18, "updated": 1, "suppressed": 2},
        21: {"created": 12, "suppressed": 1},
        22: {"created": 12},
    }
    for day, emails in pushed.items():
        changed = rows(
            warehouse,
            f"""
            SELECT email FROM leads WHERE updated_at LIKE '2026-11-{day}T%'
            AND NOT coalesce(unsubscribed, 0) AND erasure_requested_on IS NULL
            """,
        )
        assert emails == {email for (email,) in changed}


def test_a_run_by_hand_pushes_the_last_whole_day(run, closers, warehouse):
    report = run("closers_incremental_leads", at=midnight(22) + timedelta(hours=9))["push_changed"]

    assert counts(report) == {"created": 11, "suppressed": 1}
    assert rows(warehouse, "SELECT count(*) FROM leads WHERE updated_at LIKE '2026-11-21T%'") == [(12,)]


def test_a_run_by_hand_pushes_the_days_that_it_is_given(run, closers, warehouse):
    days = {"since": "2026-11-15", "until": "2026-11-17"}

    report = run("closers_incremental_leads", run_conf=days)["push_changed"]

    assert counts(report) == {"created": 20, "suppressed": 3}


def test_a_window_without_end_is_an_error(run, closers, warehouse):
    days = {"since": "2026-11-22"}

    run("closers_incremental_leads", at=midnight(16), run_conf=days, ends_as="failed")

    assert closers.journal() == []


def test_what_is_no_day_does_not_get_into_the_query(run, closers, warehouse):
    days = {"since": "2026-11-22' OR '1' = '1", "until": "2026-11-23"}

    with pytest.raises(Exception, match="Invalid input for param since"):
        run("closers_incremental_leads", run_conf=days)

    assert closers.journal() == []


@pytest.fixture
def triggered_by(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the DAG under test find the latest events, as if the scheduler had started it for them."""
    if AIRFLOW_VERSION >= (3, 0):
        from airflow.models import dagrun as place
        from airflow.models.asset import AssetEvent as Event

        name, events = "get_or_create_dagrun", "consumed_asset_events"
    else:
        from airflow.models import dag as place
        from airflow.models.dataset import DatasetEvent as Event

        name, events = "_get_or_create_dagrun", "consumed_dataset_events"
    create_run = getattr(place, name)

    def triggered_by(count: int) -> None:
        def create_triggered_run(*, session, **arguments):
            dag_run = create_run(session=session, **arguments)
            latest = session.query(Event).order_by(Event.id.desc()).limit(count).all()
            assert len(latest) == count
            getattr(dag_run, events).extend(latest)
            session.commit()
            return dag_run

        monkeypatch.setattr(place, name, create_triggered_run)

    return triggered_by


def test_leads_are_pushed_when_the_warehouse_is_refreshed(run, triggered_by, closers, warehouse):
    for _ in range(3):
        run("closers_warehouse_refresh")
    triggered_by(2)

    returned = run("closers_refreshed_leads")

    stamps = rows(warehouse, "SELECT updated_at, count(*) FROM leads GROUP BY 1 ORDER BY 1 DESC LIMIT 3")
    assert [count for _, count in stamps] == [10, 10, 10]
    assert returned["refreshed"]["since"] == stamps[1][0]
    assert counts(returned["push_refreshed"]) == {"created": 19, "updated": 1}
    latest = rows(warehouse, f"SELECT email FROM leads WHERE updated_at >= '{stamps[1][0]}'")
    assert written_emails(closers) == {email for (email,) in latest}
    assert all(closers.prospect(email)["isContacted"] for (email,) in latest)


def test_refreshed_leads_can_be_pushed_by_hand(run, closers, warehouse):
    change(warehouse, "UPDATE leads SET updated_at = '2020-01-01T00:00:00Z'")
    for lead, hours in ((3, 1), (4, 23), (6, 25)):
        stamp = datetime.now(UTC) - timedelta(hours=hours)
        change(warehouse, f"UPDATE leads SET updated_at = '{stamp:%Y-%m-%dT%H:%M:%SZ}' WHERE id = {lead}")

    report = run("closers_refreshed_leads")["push_refreshed"]

    assert counts(report) == {"created": 1, "updated": 1}
    assert written_emails(closers) == {
        email for (email,) in rows(warehouse, "SELECT email FROM leads WHERE id IN (3, 4)")
    }


def test_files_are_pushed_and_then_what_was_mended_of_their_rejects(run, closers, tmp_path):
    report = run("closers_lake_files")["push_files"]

    assert counts(report) == {"created": 7, "existing": 1, "filtered": 3, "rejected": 3}
    assert closers.count() == 61 + 7
    assert "\n" in closers.prospect("lena.vogt@kranich-optik.example.com")["otherAttribute"]["notes"]
    assert closers.prospect("tomas.novak@example.org")["replied"] is True
    rejects = [json.loads(line) for line in Path(report["rejects_path"]).read_text("utf-8").splitlines()]
    assert ["line 5 of 2026-11-20-fair.csv" in reject["reason"] for reject in rejects] == [True, False, False]

    columns = ("email", "first_name", "last_name", "company")
    rejects[0]["record"] = dict(zip(columns, rejects[0]["record"].split(";"), strict=True))
    rejects[1]["record"]["email"] = rejects[1]["record"]["email"].replace("(at)", "@")
    mended = tmp_path / "mended.jsonl"
    mended.write_text("".join(json.dumps(reject) + "\n" for reject in rejects), "utf-8")

    run("closers_push_rejects_again", run_conf={"path": str(mended)}, ends_as="failed")

    assert closers.count() == 61 + 9
    assert closers.prospect("o.brandt@nordlicht-bau.example.com")["firstName"] == "Ole"
    assert closers.prospect("w.baumann@gletscher-it.example.com")["lastName"] == "Baumann"


# Given either way, so that the DAG is read anew, and keeps its files in the folder of this test.
FULL_RESYNC, FOLLOW = {"full_resync": True}, {"full_resync": False}


def test_a_sync_sends_every_lead_once_and_then_what_changed(run, closers, warehouse):
    first = run("closers_warehouse_sync", run_conf=FULL_RESYNC)["sync"]
    second = run("closers_warehouse_sync", run_conf=FOLLOW)["sync"]

    assert counts(first) == {"created": 336, "updated": 56, "suppressed": 7}
    assert counts(second) == {"unchanged": 392, "suppressed": 7}
    assert second["requests"] == 0

    change(warehouse, "UPDATE leads SET city = 'Bern' WHERE id IN (3, 4)")
    change(warehouse, "DELETE FROM leads WHERE id = 6")
    before = closers.stats()["requests"]["total"]
    third = run("closers_warehouse_sync", run_conf=FOLLOW)["sync"]

    assert counts(third) == {"updated": 2 + 1, "unchanged": 389, "suppressed": 7}
    assert closers.stats()["requests"]["total"] == before + 3
    [gone] = [lead["email"] for lead in leads() if lead["id"] == "6"]
    assert closers.prospect(gone)["otherAttribute"]["former"] is True


def test_a_sync_without_a_snapshot_and_one_of_half_a_table_send_nothing(run, closers, warehouse):
    run("closers_warehouse_sync", run_conf=FOLLOW, ends_as="failed")
    assert closers.journal() == []

    run("closers_warehouse_sync", run_conf=FULL_RESYNC)
    sent_before = closers.stats()["requests"]["total"]
    change(warehouse, "DELETE FROM leads WHERE id % 2")
    run("closers_warehouse_sync", run_conf=FOLLOW, ends_as="failed")

    assert closers.stats()["requests"]["total"] == sent_before


def test_who_was_erased_is_not_brought_back_by_a_sync(run, closers, warehouse, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_CLOSERS_SUPPRESSION_SECRET", "a key of the hashes, long and random")

    first = run("closers_erasure_requests", run_conf=FULL_RESYNC)
    change(warehouse, "UPDATE leads SET first_name = 'Back' WHERE erasure_requested_on IS NOT NULL")
    second = run("closers_erasure_requests", run_conf=FOLLOW)

    assert counts(first["erase"]) == {"deleted": 5, "missing": 2}
    assert counts(first["sync"]) == {"created": 336, "updated": 56, "suppressed": 7}
    assert counts(second["erase"]) == {"missing": 7}
    assert counts(second["sync"]) == {"unchanged": 392, "suppressed": 7}
    assert not any(closers.prospect(email) for email in emails_to_erase())
    assert not emails_to_erase() & {entry.email for entry in closers.journal() if entry.method != "DELETE"}


async def answer(option: str) -> None:
    """Answer the one question under *Required Actions*, as Airflow's web page does."""
    import httpx
    from airflow.api_fastapi.app import create_app

    airflow_api = httpx.ASGITransport(create_app(apps="core"))
    async with httpx.AsyncClient(transport=airflow_api, base_url="http://airflow") as api:
        token = (await api.get("/auth/token")).raise_for_status().json()["access_token"]
        api.headers["Authorization"] = f"Bearer {token}"
        found = await api.get("/api/v2/dags/~/dagRuns/~/hitlDetails", params={"response_received": False})
        (question,) = found.raise_for_status().json()["hitl_details"]
        assert question["subject"] == "Erase 7 prospects from Closers?"
        assert "lead 2, asked on 2026-11-15" in question["body"]
        task = question["task_instance"]
        answered = await api.patch(
            f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
            f"/{task['map_index']}/hitlDetails",
            json={"chosen_options": [option], "params_input": {}},
        )
        answered.raise_for_status()


@pytest.fixture
def human_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a human answer as soon as the DAG under test has nothing to do but to wait for that."""

    def human_answers(option: str) -> None:
        # The wait is a sleep of the thread that runs the DAG. From a thread of its own an answer might
        # come a moment too early, and `dag.test()` would overlook it and wait for ever.
        sleep, answers = time.sleep, [option]

        def answer_or_sleep(seconds: float) -> None:
            if answers and threading.current_thread() is threading.main_thread():
                asyncio.run(answer(answers.pop()))
            else:
                sleep(seconds)

        monkeypatch.setattr(time, "sleep", answer_or_sleep)

    return human_answers


@needs_human_in_the_loop
def test_erasure_waits_for_a_human(run, human_answers, closers):
    human_answers("Approve")

    returned = run("closers_guarded_erasure")

    assert counts(returned["erase"]) == {"deleted": 5, "missing": 2}
    assert sent(closers)["DELETE", 200] == 5
    assert not any(closers.prospect(email) for email in emails_to_erase())
    assert closers.count() == 61 - 5


@needs_human_in_the_loop
def test_erasure_that_a_human_refuses_sends_nothing(run, human_answers, closers):
    human_answers("Reject")

    returned = run("closers_guarded_erasure")

    assert returned["erase"] is None
    assert closers.journal() == []
    assert closers.count() == 61


def test_the_demo_tells_when_the_sandbox_disagrees(sandbox):
    from demo import night

    sandbox.add_prospects([{"email": "jane@example.com"}])
    nothing = dict.fromkeys(night.COLUMNS, 0)

    honest, wrong = (
        night.compare({"create": report}, 1, sandbox) for report in (nothing, nothing | {"created": 2})
    )

    assert all(check.agrees for check in honest)
    assert [check.what for check in wrong if not check.agrees] == [
        "prospects added",
        "prospects now (1 + 2 - 0)",
    ]
