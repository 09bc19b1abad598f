"""Both ends of the hand-over: the dashboard gives a one-time code, the workspace's host makes it its session."""

from __future__ import annotations

import re

from aiohttp import web

from clawloops.errors import BadInput, ClawLoopsError, Forbidden
from clawloops.web import cookies
from clawloops.web.addresses import OWN, in_query, safe_path
from clawloops.web.context import COOKIES, HANDOVER, RUNTIMES, SESSION, SESSIONS, SITE, USER
from clawloops.web.visit import CHALLENGE, Away, place_of, visitor


async def give(request: web.Request) -> web.Response:
    """On the dashboard: check session and ownership, and send the browser back with a code."""
    host, challenge, path = (request.query.get(name, "") for name in ("host", "challenge", "to"))
    if not re.fullmatch(CHALLENGE, challenge) or safe_path(path) is None:
        raise BadInput("This hand-over is not complete. Open your workspace from the first page.")
    runtime = await request.app[RUNTIMES].of_owner(request[USER].id)
    if runtime is None or host != request.app[SITE].workspace_host(runtime.slug):
        raise Forbidden("This is not your workspace. Open yours from the first page.")
    code = request.app[HANDOVER].code(
        user=request[USER], session=request[SESSION], runtime=runtime, host=host, challenge=challenge
    )
    origin = request.app[SITE].workspace_origin(runtime.slug)
    raise Away(f"{origin}{OWN}cb?code={code}&to={in_query(path)}", status=303)


async def redeem(request: web.Request) -> web.Response:
    """On the workspace's host: a code that fits this host and this browser becomes a session here."""
    place = await place_of(request.app, request.host)
    path = safe_path(request.query.get("to"))
    if path is None:
        raise BadInput("This hand-over leads nowhere. Open your workspace from the dashboard.")
    state = request[COOKIES].get(cookies.STATE)
    try:
        if state is None:
            raise Forbidden("This hand-over belongs to another browser, or took too long. Open the workspace again.")
        token, session = await request.app[HANDOVER].redeem(
            request.query.get("code", ""), host=request.host, state=state
        )
    except ClawLoopsError:
        if visitor(request.app, place, request[COOKIES]) is not None:  # "back" and "reload" lead here as well
            raise Away(path, status=303) from None
        raise
    if session.runtime_id != place.id:
        await request.app[SESSIONS].revoke(session)
        raise Forbidden("This hand-over belongs to another workspace. Open the workspace again.")
    reply = web.Response(status=303, headers={"Location": path})
    reply.headers.add("Set-Cookie", cookies.give(cookies.WORKSPACE, token, max_age_s=cookies.WORKSPACE_MAX_AGE_S))
    reply.headers.add("Set-Cookie", cookies.take(cookies.STATE))
    return reply
