"""A member's own second factors: the authenticator app, passkeys and recovery codes."""

from __future__ import annotations

from aiohttp import web

from clawloops.control.passkeys import Passkeys
from clawloops.web.browsers import browser_of
from clawloops.web.context import FACTORS, PASSKEYS, SENT, SESSION, USER
from clawloops.web.pages import render
from clawloops.web.qr import drawn


async def begin_app(request: web.Request) -> web.Response:
    """The secret is in this answer, and in that of a wrong code; nobody but this session gets to see it."""
    request.app[FACTORS].begin_app(by=request[USER], session=request[SESSION])
    return await show_app(request)


async def show_app(request: web.Request) -> web.Response:
    factors = request.app[FACTORS]
    setup = factors.app_begun(request[SESSION])
    return render(request, "app.html", setup=setup, picture=drawn(setup.address))


async def confirm_app(request: web.Request) -> web.Response:
    codes = await request.app[FACTORS].confirm_app(
        request[SENT].get("code", ""), by=request[USER], session=request[SESSION]
    )
    return _done(request, codes)


async def remove_app(request: web.Request) -> web.Response:
    await request.app[FACTORS].remove_app(by=request[USER])
    raise web.HTTPSeeOther("/account")


async def name_passkey(request: web.Request) -> web.Response:
    """The page on which a passkey is named and made."""
    return render(request, "passkey.html", suggestion=browser_of(request))


async def passkey_options(request: web.Request) -> web.Response:
    """For the browser's script on that page."""
    text = await _passkeys(request).options_to_add(by=request[USER], tied_to=request[SESSION].hash.hex())
    return web.Response(text=text, content_type="application/json")


async def add_passkey(request: web.Request) -> web.Response:
    codes = await _passkeys(request).add(
        request[SENT].get("answer", ""),
        name=request[SENT].get("name", ""),
        by=request[USER],
        tied_to=request[SESSION].hash.hex(),
    )
    return _done(request, codes)


async def remove_passkey(request: web.Request) -> web.Response:
    await _passkeys(request).remove(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/account")


async def renew_codes(request: web.Request) -> web.Response:
    return _done(request, await request.app[FACTORS].renew_codes(by=request[USER]))


def _done(request: web.Request, codes: list[str]) -> web.Response:
    """Recovery codes are in this answer and nowhere else: only their hashes are kept."""
    if not codes:
        raise web.HTTPSeeOther("/account")
    return render(request, "codes.html", codes=codes)


def _passkeys(request: web.Request) -> Passkeys:
    return request.app[PASSKEYS]
