"""The command: what it says, and the exit codes that scripts go by."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_closers.operators.suppression import open_suppression_list
from airflow_provider_closers.suppression.__main__ import main

pytestmark = [
    pytest.mark.usefixtures("airflow_db"),
    # Airflow 2.11's paths warn when they are joined.
    pytest.mark.filterwarnings("ignore:in a future version of UPath:PendingDeprecationWarning"),
]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_CLOSERS_SUPPRESSION_SECRET", "not a real one")
    # The command sets it, and what comes after it in this process must not see it.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")


@pytest.fixture
def path(tmp_path):
    """A list with one entry."""
    path = str(tmp_path / "list.txt")
    open_suppression_list(path, create=True).add(["jane@acme.io"])
    return path


def test_an_import_says_what_it_came_to(path, tmp_path, capsys):
    (tmp_path / "out.txt").write_text("Jane@acme.io\njoe@acme.io\n")

    code = main(["import", str(tmp_path / "out.txt"), path])

    assert code == 0
    assert capsys.readouterr().out == "2 addresses read, 1 of them new to the list.\n"
    assert "joe@acme.io" in open_suppression_list(path)


def test_an_import_creates_the_list(tmp_path):
    (tmp_path / "out.csv").write_text("mail\njoe@acme.io\n")

    assert (
        main(["import", "--column", "mail", str(tmp_path / "out.csv"), str(tmp_path / "new" / "list")]) == 0
    )

    assert "joe@acme.io" in open_suppression_list(str(tmp_path / "new" / "list"))


def test_an_import_with_faults_imports_the_others_and_fails(path, tmp_path, capsys):
    (tmp_path / "out.txt").write_text("nobody\n" * 30 + "joe@acme.io\n")

    code = main(["import", str(tmp_path / "out.txt"), path])

    assert code == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "record 1 holds no address"
    assert shown[20:] == ["Records without an address: 30. The others were imported."]
    assert "joe@acme.io" in open_suppression_list(path)


@pytest.mark.parametrize(
    ("address", "code", "answer"),
    [("JANE@acme.io", 0, "It is on the list.\n"), ("joe@acme.io", 1, "It is not on the list.\n")],
    ids=["listed", "not listed"],
)
def test_a_check_answers_in_words_and_by_its_exit_code(path, capsys, monkeypatch, address, code, answer):
    assert main(["check", path, address]) == code
    assert capsys.readouterr().out == answer

    monkeypatch.setattr("sys.stdin", io.StringIO(f"{address}\n"))
    assert main(["check", path]) == code
    assert capsys.readouterr().out == answer


@pytest.mark.parametrize("given", ["", "\n", "jane\n"])
def test_a_check_of_what_is_no_address_is_a_failure(path, capsys, monkeypatch, given):
    monkeypatch.setattr("sys.stdin", io.StringIO(given))

    assert main(["check", path]) == 2
    assert capsys.readouterr().err == "That is no address.\n"


@pytest.mark.parametrize("command", [["check"], ["count"], ["merge"]], ids=str)
def test_a_list_that_can_t_be_read_is_a_failure(tmp_path, capsys, command):
    assert main([*command, str(tmp_path / "none.txt"), *(["a@b.c"] if command == ["check"] else [])]) == 2
    assert "none.txt' can't be read (FileNotFoundError)" in capsys.readouterr().err


class NoCredentialsError(Exception):
    """As botocore's: neither ours nor an OSError."""


@pytest.mark.parametrize("command", ["check", "count", "merge", "import"])
@pytest.mark.parametrize("error", [NoCredentialsError, AirflowNotFoundException])
def test_whatever_goes_wrong_is_a_failure_and_not_an_answer(
    path, tmp_path, capsys, monkeypatch, command, error
):
    def fail(*_, **__):
        raise error("Unable to locate credentials")

    monkeypatch.setattr("airflow_provider_closers.operators.suppression.open_suppression_list", fail)
    arguments = {"check": [path, "jane@acme.io"], "import": [str(tmp_path / "out.txt"), path]}

    assert main([command, *arguments.get(command, [path])]) == 2

    assert capsys.readouterr().err == f"{error.__name__}: Unable to locate credentials\n"


def test_neither_an_address_nor_the_key_is_ever_said(path, tmp_path, capsys, caplog):
    (tmp_path / "out.txt").write_text("Joe <joe@acme.io>\n#joe@acme.io\njoe@acme.io,Joe\n")
    (tmp_path / "out.csv").write_text("joe@acme.io,Joe\n")
    (tmp_path / "bad.txt").write_text("Joe <joe@acme.io>\n")

    for command in (
        ["import", str(tmp_path / "out.txt"), path],
        ["import", str(tmp_path / "out.csv"), path],
        ["check", path, "jane@acme.io"],
        ["check", path, "joe @acme.io"],
        ["count", str(tmp_path / "bad.txt")],
        ["merge", str(tmp_path / "bad.txt")],
    ):
        main(command)

    said = capsys.readouterr()
    assert not any(word in said.out + said.err + caplog.text for word in ("@acme", "not a real one"))


def test_entries_are_counted(path, capsys):
    assert main(["count", path]) == 0
    assert capsys.readouterr().out == "1\n"


def test_parts_are_merged(bucket, capsys):
    path = f"{bucket}/list.txt"
    for address in ("jane@acme.io", "joe@acme.io"):
        open_suppression_list(path, create=True).add([address])

    assert main(["merge", path]) == 0

    assert main(["count", path]) == 0
    assert capsys.readouterr().out == "2\n"


def test_it_is_a_module_to_run(path):
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "airflow_provider_closers.suppression", "check", path],
        input="jane@acme.io\n",
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "It is on the list." in ran.stdout
