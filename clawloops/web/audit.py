"""What was done on this box: looked for, taken away as CSV, and verified."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from aiohttp import web

from clawloops.errors import BadInput
from clawloops.model.audit import NO_END, Verdict, Wanted
from clawloops.web.context import ACCOUNTS, AUDIT, SENT, USER
from clawloops.web.pages import render
from clawloops.web.sheet import Table

PAGE = 50
NOBODY = "nobody"  # in an address: the appliance, or somebody who was not signed in
_LONGEST = 100
_HEAD = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COLUMNS = ("number", "at", "actor_id", "actor", "action", "subject", "detail", "hash")


async def show(request: web.Request) -> web.Response:
    return await _page(request, None)


async def verify(request: web.Request) -> web.Response:
    """Follows the whole chain, and tells beside the list what it has found."""
    head = request[SENT].get("head", "").strip().lower()
    if head and not _HEAD.fullmatch(head):
        raise BadInput("A hash has 64 characters of 0 to 9 and a to f. Leave it empty if you noted none.", field="head")
    return await _page(request, await request.app[AUDIT].verify(head=head))


async def export(request: web.Request) -> web.StreamResponse:
    table = Table(request, "clawloops-audit.csv", _COLUMNS)
    names = _names(request)
    async for each in request.app[AUDIT].find_all(_wanted(request), by=request[USER]):
        at = datetime.fromtimestamp(each.at / 1000, UTC).isoformat(timespec="milliseconds")
        actor = names.get(each.actor or "", "")
        await table.add(each.seq, at, each.actor or "", actor, each.action, each.subject, each.detail, each.hash or "")
    return await table.end()


async def _page(request: web.Request, verdict: Verdict | None) -> web.Response:
    query = request.query
    before = query.get("before", "")
    entries = await request.app[AUDIT].find(
        _wanted(request),
        PAGE + 1,
        before=int(before) if before.isdecimal() and len(before) < 18 else None,
        by=request[USER],
    )
    chosen = {name: query.get(name, "")[:_LONGEST] for name in ("who", "words", "from", "to")}
    return render(
        request,
        "audit.html",
        entries=entries[:PAGE],
        earlier=entries[PAGE - 1].seq if len(entries) > PAGE else None,
        chosen=chosen,
        query={name: value for name, value in chosen.items() if value},
        nobody=NOBODY,
        people=request.app[ACCOUNTS].members(),
        names=_names(request),
        verdict=verdict,
    )


def _wanted(request: web.Request) -> Wanted:
    """A day that is none is as if none was given: the page shows what it has taken."""
    query = request.query
    who, since, until = query.get("who", ""), _day(query.get("from", "")), _day(query.get("to", ""))
    return Wanted(
        actor=None if who == NOBODY else who[:_LONGEST],
        words=" ".join(query.get("words", "").split())[:_LONGEST].replace("\0", ""),
        since=_instant(since) if since else 0,
        until=_instant(until + timedelta(days=1)) if until else NO_END,
    )


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1970 <= found.year < 9999 else None


def _instant(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _names(request: web.Request) -> Mapping[str, str]:
    return {each.id: each.name for each in request.app[ACCOUNTS].members()}
