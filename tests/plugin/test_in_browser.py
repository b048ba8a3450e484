"""The page and the tab where people see them: in Airflow's web interface, in a browser, after real pushes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from api_server import api_server
from chromium import chromium

from airflow_provider_closers.plugin.registration import HAS_VIEWS

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

DAGS = Path(__file__).parent / "dags"
WAIT_SECONDS = 20
#: What Airflow calls the frames.
PAGE, TAB = "Closers pushes", "Closers push"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    if not HAS_VIEWS:
        pytest.skip("the page needs Airflow 3.1")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def airflow(
    browser: Chrome, airflow_db: Path, sandbox_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of an Airflow in which the DAG of pushes has run."""
    sandbox_server.reset()
    connection = {"conn_type": "closers", "host": sandbox_server.url, "password": sandbox_server.api_key}
    environ = os.environ | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW_CONN_CLOSERS_DEFAULT": json.dumps(connection),
        "PYTHONWARNINGS": "ignore",
    }
    run = subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", "closers_pushes"],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    with api_server(environ, tmp_path_factory.mktemp("api-server") / "log") as url:
        yield url


@pytest.fixture(autouse=True)
def _no_complaints(browser: Chrome) -> Iterator[None]:
    """The page must break neither its own policy nor the browser's patience."""
    browser.get_log("browser")
    yield
    browser.switch_to.default_content()
    ours = [entry for entry in browser.get_log("browser") if "/closers/" in entry["message"]]
    assert [entry for entry in ours if entry["level"] == "SEVERE"] == []


def wait_for(browser: Chrome, selector: str, text: str = "") -> WebElement:
    """Return the element that this selector finds and that has this text, once it is there."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.wait import WebDriverWait

    def find(browser: Chrome) -> WebElement | None:
        found = browser.find_elements("css selector", selector)
        return next((element for element in found if text in words(element)), None)

    waiting = WebDriverWait(browser, WAIT_SECONDS, ignored_exceptions=[StaleElementReferenceException])
    return waiting.until(find, f"There is no {selector} with {text!r}.")


def words(element: WebElement) -> str:
    """The text of an element in one line."""
    return " ".join(element.text.split())


def enter_frame(browser: Chrome, title: str) -> None:
    browser.switch_to.default_content()
    browser.switch_to.frame(wait_for(browser, f"iframe[title='{title}']"))


def name_of(task_id: str) -> str:
    """The selector of a push's name in the list."""
    return f".pushes a.name[href^='push/closers_pushes/'][href$='/{task_id}']"


def address_of(browser: Chrome, airflow: str, task_id: str) -> str:
    """The address of a push, from the list."""
    browser.get(f"{airflow}/closers/")
    return wait_for(browser, name_of(task_id)).get_attribute("href")


def rows(browser: Chrome) -> dict[str, str]:
    """The text of our DAG's pushes in the list, by their names; other tests run theirs in this Airflow."""
    found = browser.find_elements("css selector", ".pushes tbody tr")
    ours = [row for row in found if "closers_pushes" in row.text]
    return {row.find_element("css selector", ".name").text: row.text for row in ours}


def test_from_the_menu_to_the_list_to_a_push_and_to_its_tab(browser, airflow):
    browser.get(airflow)
    wait_for(browser, "button", "Browse").click()
    wait_for(browser, "a[href*='plugin/closers-pushes']").click()
    enter_frame(browser, PAGE)
    wait_for(browser, ".pushes")
    listed = rows(browser)

    assert listed.keys() == {
        "push_leads",
        "push_chunk[0]",
        "push_chunk[1]",
        "push_chunk[2]",
        "preview_leads",
        "by_hand",
    }
    assert "402" in listed["push_leads"]
    assert "preview" in listed["preview_leads"]

    wait_for(browser, name_of("push_leads")).click()
    wait_for(browser, ".legend", "400 created")
    assert "2 rejected" in words(wait_for(browser, ".legend"))
    # A record of the DAG holds markup.
    assert "<***" in wait_for(browser, "main").text

    wait_for(browser, "a.leaving", "Open in Airflow").click()
    browser.switch_to.default_content()
    wait_for(browser, "a[href$='/push_leads/plugin/closers-push']", "Closers push").click()
    enter_frame(browser, TAB)
    wait_for(browser, ".legend", "400 created")


def test_the_tab_of_a_mapped_instance_leads_to_the_sum(browser, airflow):
    browser.get(f"{airflow}/plugin/closers-pushes")
    enter_frame(browser, PAGE)
    wait_for(browser, "a[aria-label='closers_pushes push_chunk[1] in Airflow']").click()
    enter_frame(browser, TAB)
    wait_for(browser, ".legend", "40 created")

    wait_for(browser, "a", "All instances").click()

    wait_for(browser, ".legend", "120 created")
    instances = browser.find_elements("css selector", "tbody tr")
    assert [row.text.split()[0] for row in instances] == ["[0]", "[1]", "[2]"]


def test_the_list_can_be_narrowed_to_an_operation_and_a_dag(browser, airflow):
    browser.get(f"{airflow}/closers/")
    box = wait_for(browser, "input[name=dag_id]")

    box.send_keys("closers_pushes\n")
    wait_for(browser, name_of("push_leads"))
    assert "dag_id=closers_pushes" in browser.current_url

    wait_for(browser, "select option[value=delete]").click()
    wait_for(browser, ".notice", "No pushes")
    assert "operation=delete" in browser.current_url


def test_a_task_that_pushes_nothing_says_so(browser, airflow):
    address = address_of(browser, airflow, "push_leads")

    browser.get(address.replace("push_leads", "no_push"))

    wait_for(browser, ".notice", "No report of a push")


@contextmanager
def as_if_running(airflow_db: Path, task_id: str) -> Iterator[None]:
    """Let Airflow believe that a task has not ended yet."""

    def pretend(state: str, key: str, before: str) -> None:
        with closing(sqlite3.connect(airflow_db / "airflow.db")) as database, database:
            task = ("closers_pushes", task_id)
            database.execute(
                "UPDATE task_instance SET state = ? WHERE dag_id = ? AND task_id = ?", (state, *task)
            )
            database.execute(
                "UPDATE xcom SET key = ? WHERE dag_id = ? AND task_id = ? AND key = ?", (key, *task, before)
            )

    pretend("running", "kept", "return_value")
    try:
        yield
    finally:
        pretend("success", "return_value", "kept")


def test_a_running_push_is_looked_at_until_it_reports(browser, airflow, airflow_db):
    address = address_of(browser, airflow, "by_hand")

    with as_if_running(airflow_db, "by_hand"):
        browser.get(address)
        wait_for(browser, ".notice", "No report yet")

    wait_for(browser, ".legend", "5 created")


@pytest.mark.parametrize("width", [390, 768, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_window_and_the_colours(width, scheme, browser, airflow):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        for address in (f"{airflow}/closers/", address_of(browser, airflow, "push_leads")):
            browser.get(address)
            wait_for(browser, ".bar")

            too_wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert browser.execute_script(too_wide) <= 0
            background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 17, 17)"}[scheme]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
