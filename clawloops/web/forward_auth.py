"""ForwardAuth for Traefik: one answer per HTTP request to a running workspace. Memory only; any doubt denies.

Traefik calls `GET /forward-auth/<runtime id>` with the browser's headers and `X-Forwarded-{Method,Proto,Host,Uri}`. On
2xx it replaces `X-Clawloops-User`, `X-OpenClaw-Scopes`, `Authorization` and `Cookie` of the request by those of the
answer; anything else goes back to the browser as it is.
"""

from __future__ import annotations

import logging

from aiohttp import hdrs, web
from multidict import CIMultiDict

from clawloops.errors import ClawLoopsError, Forbidden
from clawloops.web import cookies
from clawloops.web.context import SITE, SLUG
from clawloops.web.errors import answer, status_of
from clawloops.web.identity import identity_headers
from clawloops.web.middleware import away
from clawloops.web.visit import Ask, Away, admit, place_of

log = logging.getLogger(__name__)


async def show(request: web.Request) -> web.Response:
    try:
        return await _decide(request)
    except Away as elsewhere:
        return away(elsewhere)
    except Exception as error:  # whatever it was, the request does not pass
        if not isinstance(error, ClawLoopsError):
            log.exception("ForwardAuth failed, the request is refused")
            error = ClawLoopsError("ClawLoops could not check this request. Try again in a moment.")
        return _denied(request, error)


async def _decide(request: web.Request) -> web.Response:
    ask = _ask(request)
    place = await place_of(request.app, ask.host)
    if place.id != request.match_info["runtime_id"]:
        raise Forbidden("This workspace is not at this address. Open yours from the dashboard.")
    visit = await admit(request.app, ask)
    headers: CIMultiDict[str] = CIMultiDict(identity_headers(visit.user))
    headers[hdrs.AUTHORIZATION] = ""
    headers[hdrs.COOKIE] = cookies.foreign(request.headers)
    return web.Response(headers=headers)


def _ask(request: web.Request) -> Ask:
    """The browser's request out of what Traefik tells about it. Raises Forbidden when any is missing or doubled."""
    site = request.app[SITE]
    told = {name: request.headers.getall(f"X-Forwarded-{name}", []) for name in ("Method", "Proto", "Host", "Uri")}
    if any(len(values) != 1 for values in told.values()) or told["Proto"][0] != site.scheme:
        raise Forbidden("This request did not come through the front door.")
    request[SLUG] = site.slug_of(told["Host"][0])
    return Ask(told["Method"][0], told["Host"][0], told["Uri"][0], request.headers)


def _denied(request: web.Request, error: Exception) -> web.Response:
    """Traefik passes this on to the browser. A store or a part that fails is 503: it may answer again soon."""
    reply = answer(request, error)
    if status_of(error) == 500:
        reply.set_status(503)
        reply.headers["Retry-After"] = "2"
    return reply
