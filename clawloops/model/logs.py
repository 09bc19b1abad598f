"""Lines of a workspace's log, made fit to be shown: whatever a hostile program has printed, one line of plain text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MOST_CHARACTERS = 2000
"""Of one line; the rest is left out."""

MARGIN = 1000
"""Characters that are looked at behind those that are shown, so that no secret is cut before it is found."""

_MOST_WORDS = 8
# ECMA-48: control sequences (colours, moves of the cursor), then strings such as the title of a window.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


@dataclass(frozen=True, slots=True)
class Line:
    at: str  # RFC 3339 in UTC with nanoseconds, as the Docker Engine has written it down
    is_error: bool  # came by standard error
    text: str

    @property
    def at_ms(self) -> int:
        """The same as Unix ms."""
        return int(datetime.fromisoformat(f"{self.at[:23]}+00:00").timestamp() * 1000)


def plain(raw: bytes) -> str:
    """What was printed, as text: no colours, no controls, nothing that turns the direction of what stands beside it.

    At most MOST_CHARACTERS + MARGIN of it, or a few more where characters had to be spelled out.
    """
    text = raw.decode("utf-8", "replace").removesuffix("\r")
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    text = text[: MOST_CHARACTERS + MARGIN]
    if text.isprintable():
        return text
    return text.translate({ord(each): _spelled(each) for each in set(text) if not each.isprintable()})


def _spelled(character: str) -> str:
    if character == "\t":
        return "    "
    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode()


def words_in(text: str) -> tuple[str, ...]:
    """What is looked for: plain words, whatever their case, that all have to stand in a line."""
    return tuple(text.casefold().split()[:_MOST_WORDS])


def holds(line: Line, words: Sequence[str]) -> bool:
    """Whether all of these words (of `words_in`) stand in it, in any order."""
    folded = line.text.casefold() if words else ""
    return all(each in folded for each in words)
