"""Signing in and out, and joining through a one-time link."""

from __future__ import annotations

from aiohttp import web

from clawloops.web import cookies
from clawloops.web.addresses import safe_path
from clawloops.web.browsers import browser_of
from clawloops.web.context import ACCOUNTS, INVITATIONS, SENT, SESSION, USER
from clawloops.web.middleware import address_of
from clawloops.web.pages import render
from clawloops.web.visit import Away


async def show(request: web.Request) -> web.Response:
    if USER in request and request.method == "GET":
        raise Away(_next(request), status=303)
    return render(request, "sign_in.html", next=_next(request), has_owner=request.app[ACCOUNTS].has_owner)


async def sign_in(request: web.Request) -> web.Response:
    sent = request[SENT]
    _, token = await request.app[ACCOUNTS].sign_in(
        sent.get("login", ""), sent.get("password", ""), address_of(request), browser=browser_of(request)
    )
    return await _enter(request, token, _next(request))


async def sign_out(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].sign_out(request[SESSION])
    return web.Response(status=303, headers={"Location": "/sign-in", "Set-Cookie": cookies.take(cookies.SESSION)})


async def show_join(request: web.Request) -> web.Response:
    invitation = await request.app[INVITATIONS].peek(request.match_info["token"])
    return render(request, "join.html", invitation=invitation)


async def join(request: web.Request) -> web.Response:
    sent = request[SENT]
    _, token = await request.app[INVITATIONS].accept(
        request.match_info["token"],
        login=sent.get("login", ""),
        name=sent.get("name", ""),
        password=sent.get("password", ""),
        address=address_of(request),
        browser=browser_of(request),
    )
    return await _enter(request, token, "/")


async def _enter(request: web.Request, token: str, location: str) -> web.Response:
    """Begin with a fresh session; one that this browser had before ends."""
    if SESSION in request:
        await request.app[ACCOUNTS].sign_out(request[SESSION])
    cookie = cookies.give(cookies.SESSION, token, max_age_s=cookies.SESSION_MAX_AGE_S)
    return web.Response(status=303, headers={"Location": location, "Set-Cookie": cookie})


def _next(request: web.Request) -> str:
    wished = request[SENT].get("next") if SENT in request else request.query.get("next")
    return safe_path(wished) or "/"
