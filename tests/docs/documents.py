"""What is in the README and in the guides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import airflow
import pytest
from markdown_it import MarkdownIt
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from markdown_it.token import Token

PROJECT = Path(__file__).resolve().parent.parent.parent
README = PROJECT / "README.md"
GUIDES = sorted((PROJECT / "docs").glob("*.md"))

every_document = pytest.mark.parametrize(
    "document", [README, *GUIDES], ids=lambda path: str(path.relative_to(PROJECT))
)

REMARK = re.compile(r"<!-- (needs|run with|ends as): (.+?) -->")


@dataclass(frozen=True)
class Snippet:
    """A fenced block, with what the comment before it remarks."""

    document: Path
    line: int  # of its first line, from 1
    language: str
    text: str
    remarks: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.document.relative_to(PROJECT)}, line {self.line}"

    @property
    def in_its_lines(self) -> str:
        """The text in the lines that it has in its document, so that errors name them."""
        return "\n" * (self.line - 1) + self.text

    @property
    def is_for_this_airflow(self) -> bool:
        needs = Requirement(self.remarks.get("needs", "airflow"))
        return needs.specifier.contains(airflow.__version__, prereleases=True)


def snippets(document: Path) -> Iterator[Snippet]:
    remarks: dict[str, str] = {}
    for token in tokens(document):
        if token.type == "html_block":
            remarks |= dict(REMARK.findall(token.content))
            continue
        if token.type in ("fence", "code_block"):  # the latter has no language, which nobody can check
            yield Snippet(document, token.map[0] + 2, token.info.strip(), token.content, remarks)
        remarks = {}


def tables(document: Path) -> list[list[list[str]]]:
    """Return the tables, each as its rows, the header first."""
    found: list[list[list[str]]] = []
    for token in tokens(document):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and token.level > 3 and found:
            found[-1][-1].append(token.content)
    return found


def links(document: Path) -> Iterator[tuple[str, str]]:
    """Yield each link and image, as where it leads and where it stands."""
    for token in tokens(document):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target:
                yield str(target), f"{document.relative_to(PROJECT)}, from line {token.map[0] + 1}"


def anchors(document: Path) -> set[str]:
    """Return the names that GitHub gives the headings."""
    found = tokens(document)
    headings = [found[i + 1].content for i, token in enumerate(found) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def tokens(document: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8"))
