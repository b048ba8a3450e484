"""Whether a command in the documents is one, asked of whoever would take it."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest
from documents import PROJECT, Snippet
from packaging.requirements import Requirement

from airflow_provider_closers.hooks.closers import ClosersHook
from airflow_provider_closers.settings import ClosersSettings
from airflow_provider_closers.suppression.__main__ import _parser as suppression_parser

PACKAGE = "airflow-provider-closers"
EXTRAS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MAKEFILE = (PROJECT / "Makefile").read_text()


def check_commands(snippet: Snippet) -> None:
    """Check every line of a script; in a console, those after a dollar sign."""
    lines = snippet.text.replace("\\\n", " ").splitlines()
    if snippet.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    commands = [words for line in lines if (words := shlex.split(line, comments=True))]
    assert commands, "There is no command in it."
    for words in commands:
        check(words)


def check(words: list[str]) -> None:
    match words:
        case ["export", setting]:
            check_setting(*setting.split("=", 1))
        case ["airflow", *arguments]:
            check_airflow_command(arguments)
        case ["make", *targets]:
            check_make(targets)
        case ["pip", "install", *packages]:
            check_packages(packages)
        case ["python", "-m", "airflow_provider_closers.sandbox", *switches]:
            check_sandbox_switches(switches)
        case ["python", "-m", "airflow_provider_closers.suppression", *arguments]:
            suppression_parser().parse_args(arguments)
        case _:
            pytest.fail(f"Nothing here knows how to check the command {shlex.join(words)!r}.")


def check_setting(name: str, value: str) -> None:
    """Check a variable of the environment that Airflow reads."""
    from airflow.configuration import conf

    if conn_id := re.fullmatch("AIRFLOW_CONN_(.+)", name):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(name, value)
            assert ClosersHook(conn_id[1].lower()).settings.api_key in value
    else:
        section, option = re.fullmatch("AIRFLOW__(.+?)__(.+)", name).groups()
        assert conf.has_option(section.lower(), option.lower()), f"Airflow has no setting {name}."


def check_airflow_command(arguments: list[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    parsed = get_parser().parse_args(arguments)
    if getattr(parsed, "conn_type", None) == "closers":
        ClosersSettings.from_connection(
            parsed.conn_id, password=parsed.conn_password, host=parsed.conn_host, extra=parsed.conn_extra
        )


def check_make(words: list[str]) -> None:
    for word in words:
        variable, is_assignment, _ = word.partition("=")
        known = rf"\$\({variable}\)" if is_assignment else rf"^{re.escape(word)}:"
        assert re.search(known, MAKEFILE, re.MULTILINE), f"The Makefile knows no {word}."


def check_packages(packages: list[str]) -> None:
    for package in packages:
        requirement = Requirement(re.sub(r"^\.", PACKAGE, package))
        assert requirement.name != PACKAGE or requirement.extras <= EXTRAS.keys()


def check_sandbox_switches(switches: list[str]) -> None:
    from airflow_provider_closers.sandbox.__main__ import _parser
    from airflow_provider_closers.sandbox.misbehaviour import Settings

    given = vars(_parser().parse_args(switches))
    Settings(**{name: given[name] for name in Settings.model_fields})
