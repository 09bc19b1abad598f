"""A long list that is in memory, shown a leaf at a time, and found by words: `?page=2&find=ada`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

from aiohttp import web

PER_LEAF = 20
_MOST_WORDS = 80

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leaf(Generic[T]):
    shown: Sequence[T]
    number: int  # of this leaf, from 1
    found: int  # how many fit the words, on all leaves
    is_long: bool  # there are more than a leaf holds, whatever was looked for
    words: str  # what was looked for, "" when nothing was
    kept: Mapping[str, str]  # what else the page was asked for

    @property
    def first(self) -> int:
        """The place of the first one shown, from 1."""
        return (self.number - 1) * PER_LEAF + 1

    @property
    def last(self) -> int:
        return self.first + len(self.shown) - 1

    def at(self, number: int) -> str:
        """The query of another leaf of the same list, with its "?"; "" for the first of all."""
        return self._query({"find": self.words, "page": str(number) if number > 1 else ""})

    @property
    def all(self) -> str:
        """The query of the same list with nothing looked for."""
        return self._query({})

    def _query(self, asked: Mapping[str, str]) -> str:
        given = {name: value for name, value in {**self.kept, **asked}.items() if value}
        return f"?{urlencode(given)}" if given else ""


def leaf_of(
    request: web.Request, lines: Sequence[T], words_of: Callable[[T], str], kept: Mapping[str, str] | None = None
) -> Leaf[T]:
    """What the address asks for; the nearest there is, where a list became shorter or the address is nonsense.

    `kept`: what else the page was asked for, which the way to another leaf has to say again.
    """
    words = request.query.get("find", "").strip()[:_MOST_WORDS]
    fitting = [each for each in lines if words.casefold() in words_of(each).casefold()] if words else lines
    asked = request.query.get("page", "")
    leaves = max(1, -(-len(fitting) // PER_LEAF))
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 1
    number = max(1, min(number, leaves))
    shown = fitting[(number - 1) * PER_LEAF : number * PER_LEAF]
    return Leaf(shown, number, len(fitting), len(lines) > PER_LEAF, words, kept or {})
