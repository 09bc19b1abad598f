"""Lists a page at a time: what comes behind the last one that was seen, however much was added or removed meanwhile.

A cursor is the key of that last one. Callers take it for opaque, and it opens nothing that they may not see.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from clawloops.errors import BadInput
from clawloops.web.api.shapes import Given

T = TypeVar("T")
S = TypeVar("S")
K = TypeVar("K", bound=tuple[Any, ...])

AN_INT = Annotated[int, Meta(ge=-(2**62), le=2**62)]  # fits the databases' integers
A_TEXT = Annotated[str, Meta(max_length=300, pattern=r"^[^\x00]*$")]
LAST = 2**62
"""Above every number and instant: where a list of newest first begins."""


class Paged(Given, frozen=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=200, description="How many at most.")] = 50
    cursor: Annotated[str, Meta(max_length=600, pattern="^[A-Za-z0-9_-]*$", description="An earlier next_cursor.")] = ""


class Listed(Struct, Generic[T], frozen=True, kw_only=True):
    """Part of a list."""

    items: list[T]
    next_cursor: str | None
    """For what comes behind it; null at the end."""


def cursor_of(key: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def key_in(page: Paged, kind: type[K], *, start: K) -> K:
    """The key behind which the page begins; `start` for the first one. Raises BadInput."""
    if not page.cursor:
        return start
    try:
        text = base64.urlsafe_b64decode(page.cursor + "=" * (-len(page.cursor) % 4))
        found: K = msgspec.json.decode(text, type=kind)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise BadInput("This is no cursor of this list. Begin without one.", field="cursor") from None
    return found


def listed(
    found: Sequence[T], page: Paged, *, key: Callable[[T], tuple[Any, ...]], show: Callable[[T], S]
) -> Listed[S]:
    """A page of what was read, which is one more than the page holds where another one follows."""
    shown = found[: page.limit]
    more = len(found) > page.limit
    return Listed(items=[show(each) for each in shown], next_cursor=cursor_of(key(shown[-1])) if more else None)


def page_of(
    every: Iterable[T], page: Paged, *, key: Callable[[T], tuple[int, str]], show: Callable[[T], S]
) -> Listed[S]:
    """A page of what is bounded and in memory, by rising keys."""
    after = key_in(page, tuple[AN_INT, A_TEXT], start=(-LAST, ""))
    behind = sorted((each for each in every if key(each) > after), key=key)
    return listed(behind[: page.limit + 1], page, key=key, show=show)
