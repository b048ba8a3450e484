"""
Every snippet of the documents runs, or is checked by what it claims to be.

Those of a document come in their order, as a reader would take them, who has what the fixture `reader`
gives. A Python snippet that makes a DAG is a file of its own, and its DAG is run; the others share their
names, and the tests that they define are run. The sandbox stands for the real API. A comment before a
snippet says what is special about it:

    <!-- needs: airflow>=3.3 -->
    <!-- run with: {"a param": 7} -->
    <!-- ends as: failed -->
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import airflow
import pytest
from commands import check_commands
from documents import Snippet, every_document, snippets

from airflow_provider_closers.push.progress import Progress, table
from airflow_provider_closers.push.rejects import RejectsFile
from airflow_provider_closers.push.report import Outcome, PushReport, Reject
from airflow_provider_closers.settings import DEFAULT_HOST

if TYPE_CHECKING:
    from airflow_provider_closers.sandbox.server import SandboxServer

AIRFLOW_VERSION = tuple(int(part) for part in airflow.__version__.split(".")[:2])

# What Airflow's own code warns of, once it runs: not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern .*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`"),
    pytest.mark.filterwarnings("ignore:The 'alias' attribute with value .*:UserWarning"),
    pytest.mark.filterwarnings("ignore:in a future version of UPath:PendingDeprecationWarning"),
]


@every_document
@pytest.mark.usefixtures("reader")
def test_every_snippet_runs(document, sandbox, tmp_path, monkeypatch):
    names: dict[str, Any] = {"__name__": document.stem}
    for snippet in snippets(document):
        if not snippet.is_for_this_airflow:
            continue
        try:
            match snippet.language:
                case "python" if makes_a_dag(snippet):
                    run_dag(snippet, tmp_path / f"line_{snippet.line}", sandbox, monkeypatch)
                case "python":
                    run_python(snippet, names)
                case "console" | "bash":
                    check_commands(snippet)
                case "json":
                    check_json(json.loads(snippet.text), tmp_path)
                case "log":
                    check_log(snippet.text.splitlines())
                case other:
                    pytest.fail(f"Nothing here knows how to check a snippet of {other!r}.")
        except BaseException as e:
            e.add_note(f"This is the snippet in {snippet.place}.")
            raise


def test_a_snippet_for_another_airflow_is_passed_over(tmp_path):
    document = tmp_path / "guide.md"
    document.write_text("<!-- needs: airflow>=99 -->\n```python\n```\n\n```python\n```\n")

    assert [snippet.is_for_this_airflow for snippet in snippets(document)] == [False, True]


# -- Python


def makes_a_dag(snippet: Snippet) -> bool:
    return re.search(r"^@dag|\bDAG\(", snippet.text, re.MULTILINE) is not None


def for_this_airflow(source: str) -> str:
    """Take the names from where an older version has them, as the guides' first page says."""
    if AIRFLOW_VERSION >= (3, 0):
        return source
    return source.replace("from airflow.sdk import", "from airflow.providers.common.compat.sdk import")


def run_python(snippet: Snippet, names: dict[str, Any]) -> None:
    before = dict(names)
    exec(compile(for_this_airflow(snippet.in_its_lines), snippet.document, "exec"), names)
    for name, value in [*names.items()]:
        if name.startswith("test_") and before.get(name) is not value:
            with pytest.MonkeyPatch.context() as monkeypatch:
                value(monkeypatch)


def run_dag(snippet: Snippet, folder: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models import DagBag

    file = dag_file(snippet, folder, sandbox, monkeypatch)
    bag = DagBag(dag_folder=str(file))
    assert not bag.import_errors, "".join(bag.import_errors.values())
    (dag,) = bag.dags.values()
    # Not long after leads of the examples have changed. No two versions of a DAG run at the same time.
    at = datetime(2026, 11, 21, tzinfo=UTC) + timedelta(minutes=snippet.line)
    run = dag.test(
        run_conf=json.loads(snippet.remarks.get("run with", "null")),
        **{"execution_date": at} if AIRFLOW_VERSION < (3, 0) else {"logical_date": at, "run_after": at},
    )

    tasks = run.get_task_instances()
    states = {f"{task.task_id}[{task.map_index}]": str(task.state) for task in tasks}
    assert run.state == snippet.remarks.get("ends as", "success"), states
    returned = [task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index) for task in tasks]
    reports = [value for value in returned if isinstance(value, dict) and "unresolved" in value]
    assert all(report["total"] > 0 for report in reports), "A push had nothing to do."


def dag_file(snippet: Snippet, folder: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the snippet as a file in a DAGs folder; one that names its file can be imported from others."""
    source = for_this_airflow(snippet.in_its_lines).replace(DEFAULT_HOST, sandbox.url)
    named = re.match(r"# (\w+)\.py\n", snippet.text)
    file = folder / f"{named[1] if named else f'{snippet.document.stem}_{snippet.line}'}.py"
    folder.mkdir()
    file.write_text(source, encoding="utf-8")
    # The only place where Airflow 3 looks for a DAG that it tests.
    bundle = {
        "name": "docs",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(folder)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    if named:
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setitem(sys.modules, file.stem, None)  # noted, so that it is forgotten afterwards
        del sys.modules[file.stem]
    return file


# -- what the provider writes


def check_json(shown: dict[str, Any], folder: Path) -> None:
    """Check a report, or a line of the rejects' file."""
    reject = Reject(17, {"email": "omar@acme"}, "'email' is not a valid address.")
    if "total" in shown:
        assert shown.keys() == PushReport(operation="create").as_dict().keys()
        assert shown["total"] == sum(shown[outcome] for outcome in Outcome)
        assert all(entry.keys() == reject.as_dict().keys() for entry in shown["rejects"])
    else:
        with RejectsFile(folder / "rejects.jsonl") as rejects:
            rejects(reject)
        assert shown.keys() == json.loads((folder / "rejects.jsonl").read_text()).keys()


def check_log(lines: list[str]) -> None:
    """Check that a push writes such lines, whatever the figures in them."""
    report = PushReport(
        operation="create",
        total=1_000,
        **{outcome.value: 100 for outcome in Outcome},
        withheld_flags=1,
        requests=2_000,
        retries=2,
        throttled=2,
        seconds=31.1,
    )
    window = SimpleNamespace(rate=80.0, in_flight=4, was_cut_short=False, dark_for=0.0)
    progress = Progress(total=1_000)
    written = [progress.line(report, window), *table(report, window).splitlines()]

    assert {without_figures(line) for line in lines} <= {without_figures(line) for line in written}


def without_figures(line: str) -> str:
    return re.sub(r"\s*\d[\d.,]*", " 0", line)
