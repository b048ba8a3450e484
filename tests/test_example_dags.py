"""The example DAGs, run by Airflow against the sandbox; what they did is read from the sandbox."""

from __future__ import annotations

import asyncio
import csv
import json
import subprocess
import sys
import threading
import time
from collections import Counter
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
    from airflow.models import DagBag

    bag = DagBag(dag_folder=str(EXAMPLE_DAGS))
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.fixture
def closers(sandbox: SandboxServer, closers_connection: str) -> SandboxServer:
    """A sandbox that holds the prospects of the earlier import."""
    from demo import earlier_import

    sandbox.add_prospects(earlier_import.prospects())
    assert sandbox.count() == 61
    return sandbox


@pytest.fixture
def run(dags: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    def run(dag_id: str) -> dict[str, Any]:
        """Run a DAG to its success; what its tasks returned, by task id, those of mapped tasks apart."""
        dag_run = dags[dag_id].test()
        assert dag_run.state == "success"
        tasks = [task for task in dag_run.get_task_instances() if task.map_index < 0]
        return {task.task_id: task.xcom_pull(task_ids=task.task_id) for task in tasks}

    return run


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
    ]
    assert sum(report[outcome] for outcome in outcomes) == report["total"]
    return {outcome: report[outcome] for outcome in outcomes if report[outcome]}


def test_every_example_parses(dags):
    expected = {"closers_nightly_leads", "closers_chunked_leads"}
    if AIRFLOW_VERSION >= (3, 1):
        expected.add("closers_guarded_erasure")

    assert set(dags) == expected
    assert all(dag.doc_md.strip().startswith("### ") for dag in dags.values())


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

    assert len(examples) == 3
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
