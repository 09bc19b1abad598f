"""Choosing the language of the pages, in this browser."""

from __future__ import annotations

from aiohttp import hdrs, web

from clawloops.errors import BadInput
from clawloops.web import cookies
from clawloops.web.addresses import safe_path
from clawloops.web.context import SENT, SITE
from clawloops.web.languages import NAMES


async def choose(request: web.Request) -> web.Response:
    """Back to the page that it was chosen on, as the browser names it, or to where the form says when that was no page
    to go back to. The choice is this browser's, whoever signs in with it.
    """
    code = request[SENT].get("language", "")
    if code not in NAMES:
        raise BadInput(f"There is no language {code[:20]!r} here. Choose one of: {', '.join(NAMES)}.", field="language")
    came_from = request.headers.get(hdrs.REFERER, "").removeprefix(request.app[SITE].origin)
    back = safe_path(request[SENT].get("back") or came_from) or "/"
    reply = web.Response(status=303, headers={"Location": back})
    chosen = cookies.give(cookies.LANGUAGE, code, max_age_s=cookies.LANGUAGE_MAX_AGE_S)
    reply.headers.add("Set-Cookie", chosen)
    return reply
