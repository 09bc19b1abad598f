"""Signing in, in one step or two, and out; and joining through a one-time link."""

from __future__ import annotations

from aiohttp import web

from clawloops.control.entrance import Entered, Halfway
from clawloops.errors import BadInput, Forbidden
from clawloops.model.account import Role
from clawloops.web import cookies
from clawloops.web.addresses import safe_path
from clawloops.web.browsers import browser_of
from clawloops.web.context import (
    ACCOUNTS,
    COOKIES,
    ENTRANCE,
    FACTORS,
    INVITATIONS,
    ISSUERS,
    PASSKEYS,
    REFUSED,
    SENT,
    SESSION,
    USER,
)
from clawloops.web.middleware import address_of
from clawloops.web.pages import render
from clawloops.web.visit import Away

_SECOND = "/sign-in/second"


async def show(request: web.Request) -> web.Response:
    if USER in request and request.method == "GET":
        raise Away(wished(request), status=303)
    return render(
        request,
        "sign_in.html",
        next=wished(request),
        has_owner=request.app[ACCOUNTS].owner is not None,
        issuer=request.app[ISSUERS].current,
    )


async def sign_in(request: web.Request) -> web.Response:
    sent = request[SENT]
    came = await request.app[ENTRANCE].by_password(
        sent.get("login", ""),
        sent.get("password", ""),
        address_of(request),
        browser=browser_of(request),
        onward=wished(request),
    )
    return await enter(request, came)


async def show_second(request: web.Request) -> web.Response:
    """The second step, for whoever has done the first one in this browser."""
    user = request.app[ENTRANCE].halfway(_form_cookie(request))
    if user is None and REFUSED in request:
        return await show(request)
    if user is None:
        raise Away("/sign-in", status=303)
    return render(request, "second.html", standing=await request.app[FACTORS].of(user.id))


async def second(request: web.Request) -> web.Response:
    sent = request[SENT]
    entered = await request.app[ENTRANCE].by_second(
        _form_cookie(request),
        code=sent.get("code", ""),
        answer=sent.get("answer", ""),
        address=address_of(request),
        browser=browser_of(request),
    )
    return await enter(request, entered)


async def second_options(request: web.Request) -> web.Response:
    """For the browser's script: which passkeys would do for the second step."""
    token = _form_cookie(request)
    user = request.app[ENTRANCE].halfway(token)
    if user is None:
        raise BadInput("That took too long. Sign in again.")
    return _options(await request.app[PASSKEYS].options_to_use(of=user, tied_to=token))


async def passkey_options(request: web.Request) -> web.Response:
    """For the browser's script: any passkey of this box would do."""
    token = _form_cookie(request)
    if not token:
        raise BadInput("Reload the page and try again.")
    return _options(await request.app[PASSKEYS].options_to_use(of=None, tied_to=token))


async def passkey(request: web.Request) -> web.Response:
    entered = await request.app[ENTRANCE].by_passkey(
        request[SENT].get("answer", ""),
        tied_to=_form_cookie(request),
        address=address_of(request),
        browser=browser_of(request),
        onward=wished(request),
    )
    return await enter(request, entered)


async def sign_out(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].sign_out(request[SESSION])
    return web.Response(status=303, headers={"Location": "/sign-in", "Set-Cookie": cookies.take(cookies.SESSION)})


async def show_join(request: web.Request) -> web.Response:
    invitation = await request.app[INVITATIONS].peek(request.match_info["token"])
    issuers = request.app[ISSUERS]
    return render(
        request,
        "join.html",
        invitation=invitation,
        issuer=issuers.current if invitation.role is not Role.OWNER else None,
        has_form=not issuers.closes(invitation.role),
    )


async def join(request: web.Request) -> web.Response:
    sent = request[SENT]
    invitation = await request.app[INVITATIONS].peek(request.match_info["token"])
    if request.app[ISSUERS].closes(invitation.role):
        raise Forbidden("Here nobody signs in with a password. Open the link again, and join as it says.")
    user, token = await request.app[INVITATIONS].accept(
        request.match_info["token"],
        login=sent.get("login", ""),
        name=sent.get("name", ""),
        password=sent.get("password", ""),
        address=address_of(request),
        browser=browser_of(request),
    )
    return await enter(request, Entered(token, "/first-run" if user.role is Role.OWNER else "/"))


async def enter(request: web.Request, came: Entered | Halfway) -> web.Response:
    """Begin with a fresh session; one that this browser had before ends.

    A half-session takes the place of the form cookie, which has a new value then: nobody can have planted it.
    """
    if isinstance(came, Halfway):
        cookie = cookies.give(cookies.FORM, came.token, max_age_s=cookies.SESSION_MAX_AGE_S)
        return web.Response(status=303, headers={"Location": _SECOND, "Set-Cookie": cookie})
    if SESSION in request:
        await request.app[ACCOUNTS].sign_out(request[SESSION])
    cookie = cookies.give(cookies.SESSION, came.token, max_age_s=cookies.SESSION_MAX_AGE_S)
    return web.Response(status=303, headers={"Location": came.onward, "Set-Cookie": cookie})


def _options(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


def _form_cookie(request: web.Request) -> str:
    """What ties a browser without a session to its forms, and to its half-session; "" for none."""
    return request[COOKIES].get(cookies.FORM, "")


def wished(request: web.Request) -> str:
    """The path of ours that they want to go on to."""
    text = request[SENT].get("next") if SENT in request else request.query.get("next")
    return safe_path(text) or "/"
