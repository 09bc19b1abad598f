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
    more: Callable[[], Awaitable[tuple[object, str] | None]] | None = None,
) -> web.StreamResponse:
    """Send `part` (what it shows, and its HTML) now and at each change, until the session or the process ends.

    `every_s`: how often it is looked at when nothing is told, for what changes without being told. `more`: asked after
    the first `part` in its place, for what goes to the end of it; None: `part` is sent again.
    After `ended` the browser loads the page anew, which then says why; after a mere cut it comes back by itself.
    """
    async with request.app[WATCHES].open(request.app, session, runtime_id) as watch:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await reply.prepare(request)
        await reply.write(f"retry: {RETRY_MS}\n\n".encode())
        shown, goes_on = None, False
        while not watch.is_closing:
            added = await more() if more and goes_on else None
            state, text = added or await part()
            if watch.is_over:  # asked last: what was read meanwhile is nothing for them any more
                await reply.write(_event("ended", ""))
                break
            await reply.write(_event("more" if added else "part", text) if state != shown else b": still here\n\n")
            shown, goes_on = state, True
            await watch.news(within_s=every_s)
    return reply


def _event(name: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()
