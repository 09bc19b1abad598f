"""The calls that run and wait right now at backends that serve few at once."""

from __future__ import annotations

from collections.abc import Sequence

from clawloops.control.backends import Line
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Shown
from clawloops.web.context import BACKENDS


class QueuedCall(Shown, frozen=True):
    backend_id: str
    member_id: str
    model: str
    is_background: bool
    place: int
    """0: it runs; 1: it is next at its backend."""
    since_ms: int
    """For how long it has run, or waited."""
    expected_ms: int
    """Until its turn."""


async def list_all(call: Call, query: Paged) -> Listed[QueuedCall]:
    """Those that run, then the next at each backend. The queue moves while it is read: ask for few pages."""
    return _calls(call.app[BACKENDS].lines(by=call.user), query)


async def list_own(call: Call, query: Paged) -> Listed[QueuedCall]:
    """Yours alone; `place` says how many of others are before one of them."""
    lines = call.app[BACKENDS].lines(by=call.user)
    return _calls(lines, query, member_id=call.user.id)


def _calls(lines: Sequence[Line], page: Paged, *, member_id: str = "") -> Listed[QueuedCall]:
    found = [
        (f"{line.backend.id} {index:06}", line.backend.id, each)
        for line in lines
        for index, each in enumerate(line.calls)
        if member_id in ("", each.user_id)
    ]
    return page_of(
        found,
        page,
        key=lambda each: (each[2].place, each[0]),
        show=lambda each: QueuedCall(
            backend_id=each[1],
            member_id=each[2].user_id,
            model=each[2].model,
            is_background=each[2].is_background,
            place=each[2].place,
            since_ms=round(each[2].since_s * 1000),
            expected_ms=round(each[2].expected_s * 1000),
        ),
    )
