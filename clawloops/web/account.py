"""A member's own account: how they sign in, where they are signed in, and their password."""

from __future__ import annotations

from aiohttp import web

from clawloops.web.context import ACCOUNTS, ARRIVALS, FACTORS, ISSUERS, RESETS, SENT, SESSION, USER
from clawloops.web.middleware import address_of
from clawloops.web.pages import render


async def show(request: web.Request) -> web.Response:
    return render(
        request,
        "account.html",
        sessions=request.app[ACCOUNTS].sessions_of(request[USER]),
        this=request[SESSION],
        standing=await request.app[FACTORS].of(request[USER].id),
        is_missing=request.app[FACTORS].is_missing(request[USER]),
        changed="changed" in request.query,
        reset=await request.app[RESETS].last_use(request[USER]),
        issuer=request.app[ISSUERS].current,
        identity=await request.app[ARRIVALS].of(request[USER]),
        is_closed=request.app[ISSUERS].closes(request[USER].role),
        linked="linked" in request.query,
    )


async def end(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].end_session(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/account")


async def end_others(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].end_other_sessions(request[SESSION], by=request[USER])
    raise web.HTTPSeeOther("/account")


async def change_password(request: web.Request) -> web.Response:
    sent = request[SENT]
    await request.app[ACCOUNTS].change_password(
        sent.get("current", ""),
        sent.get("password", ""),
        by=request[USER],
        keep=request[SESSION],
        address=address_of(request),
    )
    raise web.HTTPSeeOther("/account?changed")
