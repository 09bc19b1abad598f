"""The log of a workspace: live, looked through, and taken away. For its member, and for who inspects it meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import hdrs, web

from clawloops.clock import steady_ms
from clawloops.control.logs import MOST_SHOWN, Extract
from clawloops.errors import EngineRefused, NotFound, Unavailable
from clawloops.model.logs import words_in
from clawloops.model.runtime import Runtime
from clawloops.web.context import ACCOUNTS, BOARD, LOGS, SESSION, USER
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.states import state_of
from clawloops.web.workspace import base_of, chosen

OFTEN_S = 1.0
_NOTED_MS = 60_000  # so often it is noted that who inspects reads on
LONGEST = 100
_PIECE = 1 << 16  # bytes of a file that are sent at once
_UNREAD = (NotFound, Unavailable, EngineRefused)


async def show(request: web.Request) -> web.Response:
    try:
        runtime = await _admitted(request)
    except NotFound:
        if "id" in request.match_info:
            raise
        raise web.HTTPSeeOther("/") from None  # it is made by opening it
    logs, words = request.app[LOGS], _words(request)
    await logs.note_reading(runtime, session=request[SESSION])
    follower = logs.follow(runtime, words_in(words))
    try:
        values = _values(request, runtime, await follower.begin())
    except _UNREAD as problem:
        values = _values(request, runtime, problem=str(problem))
    return render(request, "logs.html", **values)


async def live(request: web.Request) -> web.StreamResponse:
    """What `show` shows, and each line that comes."""
    runtime = await _admitted(request)
    follower = request.app[LOGS].follow(runtime, words_in(_words(request)))
    begun = told = noted_at = 0
    phase = None

    async def note(runtime: Runtime) -> None:
        nonlocal noted_at
        if not noted_at or steady_ms() - noted_at >= _NOTED_MS:
            noted_at = steady_ms()
            await request.app[LOGS].note_reading(runtime, session=request[SESSION])

    async def part() -> tuple[object, str]:
        nonlocal begun, told, phase
        now = await _admitted(request)
        await note(now)
        phase = request.app[BOARD].get(now.id).phase
        try:
            found = await follower.begin()
        except _UNREAD as problem:
            begun = 0
            values = _values(request, now, problem=str(problem))
            return (phase, str(problem)), render_part(request, "partials/logs.html", **values)
        begun, told = begun + 1, 0
        return (phase, begun, told), render_part(request, "partials/logs.html", **_values(request, now, found))

    async def more() -> tuple[object, str] | None:
        nonlocal told
        now = await _admitted(request)
        await note(now)
        if not begun or request.app[BOARD].get(now.id).phase is not phase:
            return None
        try:
            lines = await follower.more()
        except _UNREAD:
            return None
        if lines is None:
            return None
        told += len(lines)
        return (phase, begun, told), render_part(request, "partials/log_lines.html", lines=lines)

    return await stream(request, request[SESSION], runtime.id, part, every_s=OFTEN_S, more=more)


async def download(request: web.Request) -> web.StreamResponse:
    """All of it that is kept, as text."""
    runtime = await _admitted(request)
    await request.app[LOGS].note_reading(runtime, session=request[SESSION])
    async with request.app[LOGS].file(runtime) as file:
        reply = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/plain; charset=utf-8",
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="clawloops-{runtime.slug}.log.txt"',
            }
        )
        await reply.prepare(request)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            await reply.write(piece)
        await reply.write_eof()
        return reply


async def _admitted(request: web.Request) -> Runtime:
    """The workspace that the address names, as it is now. Raises NotFound, and Forbidden where it is not theirs."""
    runtime = await chosen(request)
    request.app[LOGS].admit(runtime, by=request[USER], session=request[SESSION])
    return runtime


def _words(request: web.Request) -> str:
    return " ".join(request.query.get("words", "").split())[:LONGEST]


def _values(
    request: web.Request, runtime: Runtime, found: Extract | None = None, *, problem: str = ""
) -> dict[str, Any]:
    """What `partials/logs.html` shows."""
    view = request.app[BOARD].get(runtime.id)
    return {
        "runtime": runtime,
        "mine": runtime.owner == request[USER].id,
        "owner": request.app[ACCOUNTS].get(runtime.owner).name,
        "base": base_of(request),
        "state": state_of(runtime, view),
        "words": _words(request),
        "found": found,
        "lines": found.lines if found else (),
        "problem": problem,
        "most": MOST_SHOWN,
    }
