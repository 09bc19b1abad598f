"""Who is here: invite, withdraw, disable, enable, put into groups, and what each used this month."""

from __future__ import annotations

from aiohttp import web
from multidict import MultiDict

from clawloops.errors import BadInput
from clawloops.model.account import Role
from clawloops.model.usage import Total
from clawloops.web.context import ACCOUNTS, GROUPS, INVITATIONS, LEDGER, SENT, USER
from clawloops.web.fields import number
from clawloops.web.pages import render


async def show(request: web.Request, *, link: str | None = None) -> web.Response:
    totals = await request.app[LEDGER].totals()
    return render(
        request,
        "members.html",
        members=[(each, totals.get(each.id, Total())) for each in request.app[ACCOUNTS].members()],
        groups=await request.app[GROUPS].all(),
        invitations=await request.app[INVITATIONS].open(),
        link=link,
    )


async def invite(request: web.Request) -> web.Response:
    """The link is in this answer and nowhere else: only its hash is kept."""
    try:
        role = Role(request[SENT].get("role", ""))
    except ValueError:
        raise BadInput("Choose a role.", field="role") from None
    link = await request.app[INVITATIONS].invite(role=role, note=request[SENT].get("note", ""), by=request[USER])
    return await show(request, link=link)


async def withdraw(request: web.Request) -> web.Response:
    await request.app[INVITATIONS].withdraw(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/members")


async def disable(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].disable(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/members")


async def enable(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].enable(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/members")


async def make_group(request: web.Request) -> web.Response:
    sent = request[SENT]
    await request.app[GROUPS].make(
        sent.get("group", ""), sent.getall("members", []), weight=_weight(sent), by=request[USER]
    )
    raise web.HTTPSeeOther("/members#groups-title")


async def change_group(request: web.Request) -> web.Response:
    sent = request[SENT]
    await request.app[GROUPS].change(
        request.match_info["id"],
        sent.get("group", ""),
        sent.getall("members", []),
        weight=_weight(sent),
        by=request[USER],
    )
    raise web.HTTPSeeOther("/members#groups-title")


def _weight(sent: MultiDict[str]) -> int:
    return number(sent.get("weight", "1").strip(), "weight", digits=3, refusal="A share is a number.")


async def remove_group(request: web.Request) -> web.Response:
    await request.app[GROUPS].remove(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/members#groups-title")
