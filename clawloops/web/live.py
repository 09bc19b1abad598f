"""Server-sent events: the partial that a page includes, sent again whenever the runtime behind it changes.

The event stream format is https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from clawloops.model.account import Session
from clawloops.web.watch import WATCHES

HEARTBEAT_S = 15.0
RETRY_MS = 1000


async def stream(
    request: web.Request,
    session: Session,
    runtime_id: str,
    part: Callable[[], Awaitable[tuple[object, str]]],
    *,
    every_s: float = HEARTBEAT_S,
) -> web.StreamResponse:
    """Send `part` (what it shows, and its HTML) now and at each change, until the session or the process ends.

    `every_s`: how often it is looked at when nothing is told, for what changes without being told.
    After `ended` the browser loads the page anew, which then says why; after a mere cut it comes back by itself.
    """
    async with request.app[WATCHES].open(request.app, session, runtime_id) as watch:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await reply.prepare(request)
        await reply.write(f"retry: {RETRY_MS}\n\n".encode())
        shown: object = None
        while not watch.is_closing:
            if watch.is_over:
                await reply.write(_event("ended", ""))
                break
            state, text = await part()
            await reply.write(_event("part", text) if state != shown else b": still here\n\n")
            shown = state
            await watch.news(within_s=every_s)
    return reply


def _event(name: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()
