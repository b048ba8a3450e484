from __future__ import annotations

import base64
import hashlib
import re

import pytest


@pytest.fixture
def page(sandbox, session):
    return session.get(sandbox.url, timeout=5)


def test_page_loads_nothing_from_elsewhere(page):
    # The name of the SVG language looks like an address, but nobody goes there.
    text = page.text.replace("http:%2F%2Fwww.w3.org/2000/svg", "")

    assert re.findall(r"https?:|//[a-z]+\.", text) == []
    assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:)", text) == []
    assert "@import" not in text
    assert "url(" not in text


def test_page_takes_what_callers_sent_as_text_only(page):
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\son\w+=", page.text
    )


def test_policy_allows_the_own_script_and_style_and_nothing_else(page):
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))

    def hash_of(tag: str) -> str:
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == hash_of("script")
    assert policy["style-src"] == hash_of("style")
    assert policy["frame-ancestors"] == "'none'"
    assert "style=" not in page.text


def test_every_control_of_the_page_has_a_label(page):
    labelled = set(re.findall(r'<label[^>]* for="([\w-]+)"', page.text))
    for tag in re.findall(r"<(?:input|select)[^>]*>", page.text):
        name = re.search(r'id="([\w-]+)"', tag)
        in_its_label = f'<label class="check">{tag}' in page.text
        assert in_its_label or "aria-label=" in tag or (name and name[1] in labelled), tag


def test_page_has_a_control_for_every_setting(page, sandbox):
    controls = set(re.findall(r'data-setting="(\w+)"', page.text))

    assert controls == set(sandbox.settings.model_dump())


def test_description_is_served(sandbox, session):
    answer = session.get(f"{sandbox.url}/openapi.yaml", timeout=5)

    assert answer.headers["content-type"].startswith("application/yaml")
    assert answer.text.startswith("openapi: 3.1.0")
