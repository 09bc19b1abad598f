"""Every WebSocket of a workspace passes here, so that it can be cut the moment its session or runtime ends.

Traefik sends each request with an `Upgrade` header on a workspace host to us, and cannot close what it has connected
itself. Frames are handed on as they are (`conversation.py`); both ends slow down to the slower one.
"""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from clawloops.errors import BadInput, Unavailable
from clawloops.web import cookies
from clawloops.web.context import BOARD, RUNTIME_PORT, UPSTREAM
from clawloops.web.conversation import CLOSE_S, PAGE_USED, Conversation
from clawloops.web.identity import identity_headers
from clawloops.web.visit import DOORKEEPER, Ask, Asleep, Visit
from clawloops.web.watch import WATCHES

log = logging.getLogger(__name__)

MAX_MESSAGE = 32 * 1024 * 1024
HANDSHAKE_S = 15.0

_PASSED = frozenset(
    {"user-agent", "accept-language", "x-real-ip"}
    | {f"x-forwarded-{each}" for each in ("for", "host", "port", "proto", "server")}
)


async def pass_on(request: web.Request) -> web.StreamResponse:
    """Connect a browser's WebSocket to its own runtime. Raises as `Doorkeeper.admit`, BadInput, Unavailable."""
    _only_websocket(request)
    visit = await request.app[DOORKEEPER].admit(Ask.of(request))
    async with request.app[WATCHES].open(request.app, visit.session, visit.place.id) as watch:
        upstream = await _connect(request, visit)
        try:
            browser: web.WebSocketResponse[bool] = web.WebSocketResponse(
                autoping=False,
                autoclose=False,
                compress=False,
                max_msg_size=MAX_MESSAGE,
                decode_text=False,
                timeout=CLOSE_S,
                protocols=(upstream.protocol,) if upstream.protocol else (),
            )
            await browser.prepare(request)
            await Conversation(request.app, visit.place.id, browser, upstream, watch, why=visit.told(PAGE_USED)).run()
        finally:
            await upstream.close()
    return browser


def _only_websocket(request: web.Request) -> None:
    """The one protocol that may be switched to. Lists, duplicates and h2c would reach the runtime behind our back."""
    upgrades = request.headers.getall(hdrs.UPGRADE)
    keys = request.headers.getall(hdrs.SEC_WEBSOCKET_KEY, [])
    fits = (
        request.method == "GET"
        and len(upgrades) == len(keys) == 1
        and upgrades[0].strip().lower() == "websocket"
        and request.headers.get(hdrs.SEC_WEBSOCKET_VERSION) == "13"
    )
    if not fits:
        raise BadInput("Only a WebSocket (version 13) may be opened here.")


def runtime_session() -> aiohttp.ClientSession:
    """A client for runtimes, which are hostile: no cookie is kept, no redirect followed, no proxy asked."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        trust_env=False,
        trace_configs=[trace],
        skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
    )


async def _refuse_redirect(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    """A runtime that answers a handshake with a redirect would make us call whatever we can reach."""
    raise aiohttp.ClientConnectionError("the runtime answered with a redirect")


async def _connect(request: web.Request, visit: Visit) -> aiohttp.ClientWebSocketResponse[bool]:
    address = request.app[BOARD].get(visit.place.id).address
    if address is None:
        raise Asleep(visit)
    target = URL(f"ws://{address}:{request.app[RUNTIME_PORT]}{request.raw_path}", encoded=True)
    asked = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            return await request.app[UPSTREAM].ws_connect(
                target,
                headers=_headers(request, visit),
                protocols=tuple(each.strip() for each in asked.split(",") if each.strip()),
                autoping=False,
                autoclose=False,
                compress=0,
                max_msg_size=MAX_MESSAGE,
                decode_text=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
            )
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.info("runtime %s did not take a WebSocket: %s", visit.place.id, error)
        raise Unavailable(
            "The workspace does not take connections right now. The page tries again by itself."
        ) from None


def _headers(request: web.Request, visit: Visit) -> CIMultiDict[str]:
    """What the runtime may know of the browser: an allow-list, with Traefik's own `X-Forwarded-*` unchanged."""
    passed: CIMultiDict[str] = CIMultiDict(
        (name, value) for name, value in request.headers.items() if name.lower() in _PASSED
    )
    passed[hdrs.HOST] = request.host
    passed[hdrs.ORIGIN] = request.headers[hdrs.ORIGIN]
    left = "" if visit.inspection else cookies.foreign(request.headers.getall(hdrs.COOKIE, []))
    if left:
        passed[hdrs.COOKIE] = left
    passed.update(identity_headers(visit.place.owner))
    return passed
