"""New passwords through one-time links: an admin makes one, and whoever has lost theirs uses it."""

from __future__ import annotations

from aiohttp import web

from clawloops.web import members
from clawloops.web.context import ACCOUNTS, RESETS, SENT, USER
from clawloops.web.pages import render


async def make(request: web.Request) -> web.Response:
    """The link is in this answer and nowhere else: only its hash is kept."""
    member = request.app[ACCOUNTS].get(request.match_info["id"])
    link = await request.app[RESETS].make(member.id, drops_factors="factors" in request[SENT], by=request[USER])
    return await members.show_one(request, link=link)


async def withdraw(request: web.Request) -> web.Response:
    await request.app[RESETS].withdraw(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther(f"/members/{request.match_info['id']}")


async def show(request: web.Request) -> web.Response:
    reset, member = await request.app[RESETS].peek(request.match_info["token"])
    return render(request, "reset.html", reset=reset, member=member)


async def use(request: web.Request) -> web.Response:
    """They sign in with it then, with their second factor where they have one."""
    await request.app[RESETS].use(request.match_info["token"], request[SENT].get("password", ""))
    raise web.HTTPSeeOther("/sign-in")
