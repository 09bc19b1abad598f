"""What happens to every request before a handler sees it, and to every answer before it leaves. Outermost first."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
from collections.abc import Mapping

from aiohttp import BodyPartReader, hdrs, web
from aiohttp.typedefs import Handler
from multidict import MultiDict

from clawloops import log as logs
from clawloops.errors import BadInput, ClawLoopsError, Forbidden, NotSignedIn
from clawloops.finishing import finish
from clawloops.model.decoy import Place
from clawloops.web import cookies, languages, relay
from clawloops.web.addresses import in_query, is_navigation, safe_path
from clawloops.web.api import problems
from clawloops.web.context import (
    ACCOUNTS,
    COOKIES,
    DECOYS,
    NONCE,
    PARTS,
    REQUEST_ID,
    SENT,
    SESSION,
    SITE,
    SLUG,
    STARTED,
    USER,
    Site,
)
from clawloops.web.errors import answer, status_of
from clawloops.web.refusals import REFUSALS
from clawloops.web.visit import Away

log = logging.getLogger(__name__)

HOSTLESS = frozenset({"/healthz", "/ca.crt"})
"""Asked by the container's own health check, and by people who have no certificate yet: any host may be named."""

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM = "application/x-www-form-urlencoded"
_TOKEN_BYTES = 256
_LINK = re.compile(r"/(join|reset)/")
_LONGEST_SHOWN = 200  # characters of a path in the log

UPLOADS = re.compile(r"/workspace/files/import|/models/library/[^/]+/import")
"""Take a form with a file, which their handlers read as it comes. Its first field is the token."""


@web.middleware
async def number_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[REQUEST_ID] = secrets.token_hex(6)
    request[NONCE] = secrets.token_urlsafe(16)
    mark = logs.request_id.set(request[REQUEST_ID])
    try:
        return await handler(request)
    finally:
        logs.request_id.reset(mark)


@web.middleware
async def choose_language(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What every page that comes of this request is written in, those of errors, too."""
    sent = cookies.language(request.headers.getall(hdrs.COOKIE, []))
    code = languages.chosen(sent, request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))
    known = languages.known(code)
    languages.speak(await asyncio.to_thread(languages.language, code) if known is None else known)
    return await handler(request)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every exception becomes an answer. One that has begun can only be cut, never followed by another."""
    try:
        return await handler(request)
    except Exception as error:
        if request.get(STARTED):
            if request.transport is not None:
                request.transport.abort()
            if not isinstance(error, (ClawLoopsError, ConnectionError)):
                log.exception("an answer broke off at %s", _shown(request))
            raise
        return _answer(request, error)


def _answer(request: web.Request, error: Exception) -> web.StreamResponse:
    match error:
        case Away():
            return _away(error)
        case web.HTTPException() if error.status < 400:
            raise error
        case NotSignedIn() if is_navigation(request.method, request.headers) and _has_sign_in(request):
            here = safe_path(request.path_qs)
            return _away(Away("/sign-in" + (f"?next={in_query(here)}" if here and here != "/" else ""), status=303))
        case ClawLoopsError() | web.HTTPException():
            if (status := status_of(error)) >= 500:
                log.warning("%s %s: %s", request.method, _shown(request), error)
            else:
                request.app[REFUSALS].note(request.method, _shown(request), status, error)
        case _:
            log.exception("unforeseen at %s %s", request.method, _shown(request))
    return problems.answer(request, error) if _is_for_programs(request) else answer(request, error)


def _has_sign_in(request: web.Request) -> bool:
    return request.get(SLUG) is None and not _is_for_programs(request)


def _is_for_programs(request: web.Request) -> bool:
    """Whether the JSON API answers: decided by where the request is routed to, however its path is spelled."""
    resource = request.match_info.route.resource
    return request.get(SLUG) is None and resource is not None and resource.canonical.startswith("/api/")


def _shown(request: web.Request) -> str:
    """The path for the log, no longer than our own are, and without the token of a link that may still be good."""
    found = _LINK.match(request.path)
    return f"{found[0]}…" if found else request.path[:_LONGEST_SHOWN]


def _away(error: Away) -> web.Response:
    return web.Response(status=error.status, headers=error.header)


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Exactly the hosts that we serve, written as browsers write them; anything else would be a confused proxy."""
    site, hosts = request.app[SITE], request.headers.getall(hdrs.HOST, [])
    slug = site.slug_of(hosts[0]) if len(hosts) == 1 else None
    request[SLUG] = slug
    if slug is None and hosts != [site.authority] and request.path not in HOSTLESS:
        raise web.HTTPMisdirectedRequest(text="")
    return await handler(request)


@web.middleware
async def know_visitor(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Cookies read strictly, upgrades to the relay and nowhere else, and on the dashboard who is signed in.

    The JSON API knows its callers by their tokens: no cookie is read there.
    """
    sent = [] if _is_for_programs(request) else request.headers.getall(hdrs.COOKIE, [])
    request[COOKIES] = cookies.read(sent)
    if hdrs.UPGRADE in request.headers:
        if request[SLUG] is None:
            raise BadInput("Nothing here speaks another protocol than HTTP.")
        return await relay.pass_on(request)
    if not _is_for_programs(request):  # there the schema says it
        no_nul({"": request.path, **request.query})
    token = request[COOKIES].get(cookies.SESSION)
    if token is not None and request[SLUG] is None:
        found = request.app[ACCOUNTS].user_of(token)
        if found is not None:
            request[USER], request[SESSION] = found
    if request[SLUG] is None and hdrs.AUTHORIZATION in request.headers:  # no browser sends one; tokens come so
        keys = "\n".join(request.headers.getall(hdrs.AUTHORIZATION))
        request.app[DECOYS].spot(keys, Place.SIGN_IN, address_of(request))
    return await handler(request)


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nothing changes on the dashboard unless one of its own pages asked for it.

    Workspaces are same-site with the dashboard, so SameSite cookies do not help: the exact Origin, fetch metadata where
    the browser sends it, and a token that only our pages hold must all fit. The JSON API has nothing that a browser
    sends by itself, and refuses pages of other origins on its own (`api.door`).
    """
    if request.method in _READS or request[SLUG] is not None:
        return await handler(request)
    if _is_for_programs(request):
        return await finish(handler(request))  # a change is made whole, also when whoever asked for it leaves
    own = request.app[SITE].origin
    if request.headers.getall(hdrs.ORIGIN, []) != [own]:
        raise Forbidden("This form was sent from another site. Open the dashboard and send it from there.")
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Forbidden("This form was sent from another site. Open the dashboard and send it from there.")
    in_form = await _token_in(request)
    token = request.headers.get("X-CSRF-Token") or in_form
    tied_to = [request[COOKIES][name] for name in (cookies.SESSION, cookies.FORM) if name in request[COOKIES]]
    if not any(hmac.compare_digest(cookies.csrf_of(each).encode(), token.encode()) for each in tied_to):
        raise Forbidden("This form is out of date. Go back, reload the page and send it again.")
    return await finish(handler(request))


async def _token_in(request: web.Request) -> str:
    """The token in a form, which is read whole; of one with a file, only what stands before the file is read."""
    if UPLOADS.fullmatch(request.path) and request.content_type == "multipart/form-data":
        request[SENT] = MultiDict()
        try:
            request[PARTS] = await request.multipart()
            first = await request[PARTS].next()
        except ValueError as error:
            raise BadInput("This form cannot be read. Reload the page and send it again.") from error
        if not isinstance(first, BodyPartReader) or first.name != "csrf":
            return ""
        token = b""
        while len(token) < _TOKEN_BYTES and (chunk := await first.read_chunk(_TOKEN_BYTES)):
            token += chunk
        return token.decode(errors="replace").strip()
    if request.content_type != _FORM:
        raise BadInput(f"Send this as {_FORM}.")
    request[SENT] = MultiDict((name, value) for name, value in (await request.post()).items() if isinstance(value, str))
    return request[SENT].get("csrf") or ""


def no_nul(texts: Mapping[str, str]) -> None:
    """No text of ours has one, and PostgreSQL keeps none. Raises BadInput with its name as the field."""
    for name, text in texts.items():
        if "\0" in text:
            raise BadInput("A character in it, NUL, stands in no text. Take it out, and send it again.", field=name)


MIDDLEWARES = (number_requests, choose_language, answer_errors, check_host, know_visitor, check_origin)


def policy(site: Site, nonce: str) -> str:
    """The Content-Security-Policy of every page: nothing from elsewhere, no inline code, no framing.

    A form's redirects count as its targets in Chromium, and "Open workspace" ends on the workspace's own host.
    """
    workspaces = f"{site.scheme}://*.ws.{site.authority}"
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action 'self' {workspaces}; base-uri 'none'; frame-ancestors 'none'"
    )


def protection(site: Site, *, nonce: str, request_id: str) -> dict[str, str]:
    """The headers of every answer that a browser gets from us."""
    return {
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Request-Id": request_id,
        "Content-Security-Policy": policy(site, nonce),
    }


async def add_headers(request: web.Request, reply: web.StreamResponse) -> None:
    """On every answer, whoever made it, just before it leaves."""
    request[STARTED] = True
    if reply.status == 101:
        return
    nonce, number = request.get(NONCE, ""), request.get(REQUEST_ID, "-")
    reply.headers.update(protection(request.app[SITE], nonce=nonce, request_id=number))
    reply.headers.setdefault("Cache-Control", "no-store")
    reply.headers.popall(hdrs.SERVER, None)


def address_of(request: web.Request) -> str:
    """The browser's address as Traefik saw it: the last entry, the only one that it wrote itself."""
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", []))
    return forwarded.rsplit(",", 1)[-1].strip() or request.remote or "unknown"
