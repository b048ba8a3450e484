"""Every link and every picture of the documents leads somewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from documents import GUIDES, PROJECT, README, anchors, every_document, links


@every_document
def test_every_link_leads_somewhere(document):
    astray = []
    for target, place in links(document):
        parts = urlsplit(target)
        if parts.scheme in ("http", "https"):
            continue
        file = document.parent / parts.path if parts.path else document
        if not file.exists() or (parts.fragment and parts.fragment not in anchors(file)):
            astray.append(f"{place}: {target}")

    assert not astray


def test_every_guide_is_in_the_table_of_contents():
    contents = PROJECT / "docs" / "README.md"

    listed = {contents.parent / target for target, _ in links(contents)}

    assert listed >= {*GUIDES} - {contents}


def test_every_picture_is_shown():
    shown = {(page.parent / target).resolve() for page in [README, *GUIDES] for target, _ in links(page)}

    assert shown >= set((PROJECT / "docs" / "images").iterdir())


@every_document
def test_no_document_names_a_place_on_the_machine_that_it_was_written_on(document):
    text = document.read_text(encoding="utf-8")

    assert str(PROJECT) not in text
    assert str(Path.home()) + "/" not in text
