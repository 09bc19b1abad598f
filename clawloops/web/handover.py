"""Both ends of the hand-over: the dashboard gives a one-time code, the workspace's host makes it its session."""

from __future__ import annotations

import re

from aiohttp import web

from clawloops.errors import BadInput, ClawLoopsError, Forbidden
from clawloops.model.runtime import Runtime
from clawloops.web import cookies
from clawloops.web.addresses import OWN, in_query, is_navigation, safe_path
from clawloops.web.context import COOKIES, HANDOVER, INSPECTIONS, RUNTIMES, SESSION, SESSIONS, SITE, USER
from clawloops.web.visit import CHALLENGE, DOORKEEPER, Away


async def give(request: web.Request) -> web.Response:
    """On the dashboard: check session and ownership, and send the browser back with a code."""
    host, challenge, path = (request.query.get(name, "") for name in ("host", "challenge", "to"))
    if not re.fullmatch(CHALLENGE, challenge) or safe_path(path) is None:
        raise BadInput("This hand-over is not complete. Open your workspace from the first page.")
    runtime = await _workspace(request, host)
    code = request.app[HANDOVER].code(
        user=request[USER], session=request[SESSION], runtime=runtime, host=host, challenge=challenge
    )
    origin = request.app[SITE].workspace_origin(runtime.slug)
    raise Away(f"{origin}{OWN}cb?code={code}&to={in_query(path)}", status=303)


async def _workspace(request: web.Request, host: str) -> Runtime:
    """The visitor's own, or one that they have open as an admin. Raises Forbidden."""
    runtimes, inspections, user = request.app[RUNTIMES], request.app[INSPECTIONS], request[USER]
    slug = request.app[SITE].slug_of(host)
    own = await runtimes.of_owner(user.id)
    if own is not None and slug == own.slug:
        return own
    inspection = inspections.of_slug(slug, request[SESSION])
    if inspection is not None:
        return await runtimes.get(inspection.runtime_id, by=user)
    if slug is not None and user.role.administers and await runtimes.of_slug(slug) is not None:
        if is_navigation(request.method, request.headers):  # a page of any workspace can have images of this address
            await inspections.note_refused(slug, by=user)
        raise Forbidden("This workspace is not open to you, or not any more. Its page on the dashboard says more.")
    raise Forbidden("This is not your workspace. Open yours from the first page.")


async def redeem(request: web.Request) -> web.Response:
    """On the workspace's host: a code that fits this host and this browser becomes a session here."""
    doorkeeper = request.app[DOORKEEPER]
    place = await doorkeeper.place_of(request.host)
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
        if doorkeeper.visitor(place, request[COOKIES]) is not None:  # "back" and "reload" lead here as well
            raise Away(path, status=303) from None
        raise
    if session.runtime_id != place.id:
        await request.app[SESSIONS].revoke(session)
        raise Forbidden("This hand-over belongs to another workspace. Open the workspace again.")
    reply = web.Response(status=303, headers={"Location": path})
    reply.headers.add("Set-Cookie", cookies.give(cookies.WORKSPACE, token, max_age_s=cookies.WORKSPACE_MAX_AGE_S))
    reply.headers.add("Set-Cookie", cookies.take(cookies.STATE))
    return reply
