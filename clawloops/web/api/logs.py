"""The end of the log of one's own workspace. Nobody else's: no token opens what a member has to be told of."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from clawloops.control.logs import MOST_SHOWN
from clawloops.model.logs import words_in
from clawloops.web.api.operation import Call
from clawloops.web.api.shapes import Given, Line, Shown
from clawloops.web.api.workspace import chosen
from clawloops.web.context import LOGS


class WantedLines(Given, frozen=True):
    """Which lines."""

    limit: Annotated[int, Meta(ge=1, le=MOST_SHOWN, description="How many at most.")] = 200
    words: Annotated[Line, Meta(description="Lines that hold all of them, in any order and case.")] = ""


class LogLine(Shown, frozen=True):
    at: Annotated[str, Meta(description="RFC 3339, in UTC, with nanoseconds.")]
    stream: Literal["out", "err"]
    text: str
    """Without secrets, colours and controls; cut where it ends with "…"."""


class Log(Shown, frozen=True):
    """Oldest line first."""

    lines: list[LogLine]
    looked_at: int
    """How many of the newest lines were looked at for these."""


async def show(call: Call, query: WantedLines) -> Log:
    """The newest lines that its container has printed; it goes on over stops and crashes, and ends with the container.

    Where there is no container now, there is no log either: 404.
    """
    runtime = await chosen(call, "")
    call.app[LOGS].admit(runtime, by=call.user, session=None)
    found = await call.app[LOGS].last(runtime, words_in(query.words), most=query.limit)
    lines = [LogLine(at=each.at, stream="err" if each.is_error else "out", text=each.text) for each in found.lines]
    return Log(lines=lines, looked_at=found.looked_at)
