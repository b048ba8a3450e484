"""A text's lines, in bounded memory, those that can't be read among them."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from _typeshed import SupportsRead

#: Characters of the longest line that is read.
LONGEST_LINE = 16 * 1024 * 1024

_BLOCK = 256 * 1024  # Bytes at a time; in larger ones splitting is slower.
_SHOWN = 1_000  # Characters of a line that is too long.
_UNDECODED = re.compile("[\ud800-\udfff]")


class CutLine(str):
    """Stands for a line that is too long: a blank line, which knows how it began."""

    __slots__ = ("beginning",)

    beginning: str

    def __new__(cls, beginning: str) -> CutLine:  # noqa: D102 - see the class
        line = super().__new__(cls, "\n")
        line.beginning = beginning[:_SHOWN]
        return line


class Block(NamedTuple):
    """
    Some lines, each with its end.

    :param lines: The lines. Bytes that are not in the encoding are lone surrogates in them.
    :param may_be_flawed: Whether there may be a line with a flaw among them.
    """

    lines: list[str]
    may_be_flawed: bool


def blocks_of_lines(content: SupportsRead[bytes], encoding: str) -> Iterator[Block]:
    r"""
    Yield a text's lines, which end with ``\n``, ``\r\n`` or ``\r``; a byte order mark is left out.

    :param content: The text, encoded.
    :param encoding: How.
    """
    decode = codecs.getincrementaldecoder(encoding)("surrogateescape").decode
    text, is_cut, is_start = "", False, True
    while True:
        data = content.read(_BLOCK)
        text += decode(data, not data)
        if is_start and text:
            text, is_start = text.removeprefix("\ufeff"), False
        end = _end_of_last_line(text) if data else len(text)
        lines = io.StringIO(text[:end], newline="").readlines()
        may_be_flawed = _has_undecoded(text)
        # Only the first can be as long: the others are of one block.
        if lines and (is_cut or len(lines[0]) > LONGEST_LINE):
            lines[0], is_cut, may_be_flawed = CutLine(lines[0]), False, True
        if lines:
            yield Block(lines, may_be_flawed)
        if not data:
            return
        text = text[end:]
        if is_cut or len(text) > LONGEST_LINE:
            # Its end may be half there.
            text, is_cut = text[:_SHOWN] + text[-1:], True


def _end_of_last_line(text: str) -> int:
    r"""Return where the last complete line ends; at the end of a text, ``\r`` may be half of ``\r\n``."""
    end = len(text) - text.endswith("\r")
    line_feed = text.rfind("\n", 0, end)
    return max(line_feed, text.rfind("\r", line_feed + 1, end)) + 1


def _has_undecoded(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def flaw_of(line: str, encoding: str) -> str | None:
    """Say what is wrong with a line, to be read after "line 17"; ``None`` if nothing."""
    if isinstance(line, CutLine):
        return f"is longer than {LONGEST_LINE:,} characters"
    if _UNDECODED.search(line):
        return f"is not {encoding}; encoding says how the text is encoded"
    return None


def readable(text: str) -> str:
    r"""Return what stands in a line, or several; a byte that could not be decoded as ``\xe9``."""
    if isinstance(text, CutLine):
        text = f"{text.beginning}..."
    return _UNDECODED.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", text.rstrip("\r\n"))
