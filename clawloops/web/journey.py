"""The way to the identity provider and back: to sign in, to join, to link an account, or to prove who one is.

Every way there is a link and not a form, because a page's Content-Security-Policy holds for all that a form leads to.
"""

from __future__ import annotations

import secrets

from aiohttp import web

from clawloops.control.issuer import Query
from clawloops.control.trips import Purpose, Trip
from clawloops.errors import BadInput, ClawLoopsError
from clawloops.finishing import finish
from clawloops.oidc.provider import Asking
from clawloops.web import confirm, cookies
from clawloops.web.browsers import browser_of
from clawloops.web.context import (
    ACCOUNTS,
    ARRIVALS,
    COOKIES,
    ENTRANCE,
    INVITATIONS,
    ISSUERS,
    SESSION,
    USER,
)
from clawloops.web.errors import status_of
from clawloops.web.middleware import address_of
from clawloops.web.pages import render
from clawloops.web.sign_in import enter, wished


async def sign_in(request: web.Request) -> web.Response:
    return await _leave(request, Purpose.SIGN_IN, onward=wished(request))


async def join(request: web.Request) -> web.Response:
    token = request.match_info["token"]
    await request.app[INVITATIONS].peek(token)
    return await _leave(request, Purpose.JOIN, bound_to=token)


async def prove(request: web.Request) -> web.Response:
    """For whoever was asked who they are, on a page that has kept their form."""
    if not await confirm.may_use_issuer(request):
        raise BadInput("This does not prove who you are here. Go back and confirm it with your second factor.")
    return await _leave(request, Purpose.PROOF, onward="/confirm/done", bound_to=request[SESSION].hash.hex())


async def link(request: web.Request) -> web.Response:
    """The page that leads to the provider, for whoever has just sent this form of ours: no other page can begin it."""
    tied_to = _tie(request)
    address = await request.app[ISSUERS].begin(
        Purpose.LINK, tied_to=tied_to, onward="/account?linked", bound_to=request[SESSION].hash.hex()
    )
    reply = render(request, "leave.html", address=address, issuer=request.app[ISSUERS].current)
    reply.headers.add("Set-Cookie", _give(tied_to))
    return reply


async def unlink(request: web.Request) -> web.Response:
    await request.app[ARRIVALS].unlink(by=request[USER])
    raise web.HTTPSeeOther("/account")


async def come_back(request: web.Request) -> web.Response:
    """Where the provider sends browsers to. What is refused is said on a page of its own, with what can be done."""
    again = "/sign-in/with"
    try:
        query = _query(request)
        trip, asking = request.app[ISSUERS].come_back(query, tied_to=request[COOKIES].get(cookies.TRIP, ""))
        if trip.purpose is Purpose.JOIN:
            again = f"/join/{trip.bound_to}"
        # Whole, also when the browser leaves: a code is good once.
        return await finish(_arrive(request, query, trip, asking))
    except ClawLoopsError as refused:
        return render(
            request,
            "returned.html",
            status=status_of(refused),
            text=str(refused),
            again=again,
            issuer=request.app[ISSUERS].current,
        )


async def _arrive(request: web.Request, query: Query, trip: Trip, asking: Asking) -> web.Response:
    arrivals, address = request.app[ARRIVALS], address_of(request)
    who = await arrivals.meet(query, trip, asking, session=request.get(SESSION), address=address)
    match trip.purpose:
        case Purpose.SIGN_IN:
            user = await arrivals.admit(who, address)
        case Purpose.JOIN:
            user = await arrivals.join(trip.bound_to, who, address)
        case Purpose.LINK:
            await arrivals.link(who, by=request.app[ACCOUNTS].get(request[USER].id), address=address)
            raise web.HTTPSeeOther(trip.onward)
        case Purpose.PROOF:
            await arrivals.prove(request[SESSION], who, by=request[USER], address=address)
            raise web.HTTPSeeOther(trip.onward)
    issuer = request.app[ISSUERS].current
    came = await request.app[ENTRANCE].by_issuer(
        user,
        issuer.label if issuer else "an identity provider",
        address,
        proved_at=arrivals.proved_at(who),
        browser=browser_of(request),
        onward=trip.onward,
    )
    return await enter(request, came)


async def _leave(request: web.Request, purpose: Purpose, *, onward: str = "/", bound_to: str = "") -> web.Response:
    tied_to = _tie(request)
    address = await request.app[ISSUERS].begin(purpose, tied_to=tied_to, onward=onward, bound_to=bound_to)
    return web.Response(status=303, headers={"Location": address, "Set-Cookie": _give(tied_to)})


def _tie(request: web.Request) -> str:
    """The cookie of this browser's trips, which may be several at a time."""
    return request[COOKIES].get(cookies.TRIP) or secrets.token_urlsafe(32)


def _give(tied_to: str) -> str:
    return cookies.give(cookies.TRIP, tied_to, max_age_s=cookies.TRIP_MAX_AGE_S)


def _query(request: web.Request) -> Query:
    """Raises BadInput for an answer that says something twice: whoever reads the first or the last reads wrongly."""
    found: dict[str, str | None] = {}
    for name in ("state", "code", "iss", "error"):
        values = request.query.getall(name, [])
        if len(values) > 1:
            raise BadInput("The answer of the identity provider says something twice. Try again.")
        found[name] = values[0] if values else None
    return Query(**found)
