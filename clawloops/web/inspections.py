"""Opening a member's workspace as an admin, with a reason and for a while, and ending it: for either side."""

from __future__ import annotations

from aiohttp import web

from clawloops.web import workspace
from clawloops.web.context import INSPECTIONS, SENT, SESSION, USER
from clawloops.web.fields import number


async def open_(request: web.Request) -> web.Response:
    sent, runtime = request[SENT], await workspace.chosen(request)
    minutes = number(sent.get("minutes", ""), "minutes", digits=3, refusal="Choose one of the list.")
    await request.app[INSPECTIONS].open(
        runtime, by=request[USER], session=request[SESSION], reason=sent.get("reason", ""), minutes=minutes
    )
    raise web.HTTPSeeOther(f"/box/workspaces/{runtime.id}")


async def end(request: web.Request) -> web.Response:
    """And on to the page on which it stands from now on."""
    ended = await request.app[INSPECTIONS].end(request.match_info["id"], by=request[USER])
    if ended is None:
        raise web.HTTPSeeOther("/")
    is_own = ended.owner == request[USER].id
    raise web.HTTPSeeOther("/workspace" if is_own else f"/box/workspaces/{ended.runtime_id}")
