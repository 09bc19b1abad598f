"""The two doors to the models: a token and where it comes from are checked before a byte of the body is read.

Runtimes' door answers only on addresses of the runtime pool, because a runtime with NET_ADMIN could reach any local
address (security.md, 3); on loopback it answers `/healthz` and nothing else. Members' own tools come through Traefik to
a door on loopback, which knows members' keys and no runtime's token.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from aiohttp import hdrs, web

from clawloops.errors import BadInput, ClawLoopsError, Forbidden, NotFound, NotSignedIn
from clawloops.gateway import answers, headers, listing
from clawloops.gateway.body import rebuild
from clawloops.gateway.endpoints import ENDPOINTS, Dialect, dialect_of
from clawloops.gateway.proxy import Proxy, respond
from clawloops.gateway.route import Caller, Directory
from clawloops.model.provider import Model

BODY_LIMIT = 20 * 1024 * 1024  # bytes, where the settings say nothing else
BODY_WITHIN_S = 120.0  # from the end of the header to the end of the body; 20 MiB at 1.4 Mbit/s
BODIES_AT_ONCE = 4  # of the largest size, or as much in smaller ones, that one member's calls hold together
MOST_CONNECTIONS = 64  # that one runtime keeps open
IDLE_S = 75  # without a whole header, at the start of a connection and between two calls
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


InUse = Callable[[str], AbstractContextManager[None]]
"""Takes a runtime's id; a call of that runtime is under way while the context is open."""


def gateway_app(
    directory: Directory,
    proxy: Proxy,
    *,
    pool: ipaddress.IPv4Network,
    in_use: InUse | None = None,
    room: Room | None = None,
) -> web.Application:
    """What runtimes reach on their own networks; run it with `runner`. `pool` holds every member network."""
    return _app(_ForRuntimes(directory, proxy, room or Room(), pool, in_use or (lambda _: nullcontext())))


def members_app(directory: Directory, proxy: Proxy, *, room: Room | None = None) -> web.Application:
    """What members' own tools reach on the dashboard's host; run it with `runner`, on loopback behind Traefik."""
    return _app(_Ingress(directory, proxy, room or Room()))


def _app(ingress: _Ingress) -> web.Application:
    app = web.Application(client_max_size=ingress.room.limit, middlewares=[ingress.guard])
    app.router.add_get("/healthz", _health, allow_head=False)
    app.router.add_get("/v1/models", ingress.models, allow_head=False)
    app.router.add_get("/v1/models/{name:.+}", ingress.model, allow_head=False)
    app.router.add_get("/api/tags", ingress.models, allow_head=False)
    app.router.add_get("/api/version", ingress.version, allow_head=False)
    app.router.add_post("/api/show", ingress.show)
    for path in ENDPOINTS:
        app.router.add_post(path, ingress.call)
    return app


def runner(app: web.Application, *, shutdown_timeout_s: float = 5, most_per_peer: int = 0) -> web.AppRunner:
    """The runner the gateway needs: without handler_cancellation a caller who leaves would keep the upstream busy.

    At `cleanup()` running answers get `shutdown_timeout_s` seconds; then they are cut, and settled as cut. A peer that
    keeps `most_per_peer` connections open gets no other one (0: as many as it likes).
    """
    return _Runner(
        app,
        most_per_peer=most_per_peer,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=IDLE_S,
        auto_decompress=False,  # a packed body is refused; before that, it is not to be unpacked either
        shutdown_timeout=shutdown_timeout_s,
    )


class _Runner(web.AppRunner):
    def __init__(self, app: web.Application, *, most_per_peer: int, **options: Any) -> None:
        super().__init__(app, **options)
        self._most = most_per_peer
        self._open: dict[str, int] = {}

    async def _make_server(self) -> web.Server:
        """The server tells us of each connection; aiohttp has no other place where they could be counted."""
        server = await super()._make_server()
        if self._most:
            made, lost, peers = server.connection_made, server.connection_lost, self._open
            counted: dict[web.RequestHandler, str] = {}

            def connection_made(handler: web.RequestHandler, transport: asyncio.Transport) -> None:
                made(handler, transport)
                peer = (transport.get_extra_info("peername") or ("",))[0]
                counted[handler] = peer
                peers[peer] = peers.get(peer, 0) + 1
                if peers[peer] > self._most:
                    transport.abort()

            def connection_lost(handler: web.RequestHandler, exc: BaseException | None = None) -> None:
                peer = counted.pop(handler, None)
                if peer is not None:
                    peers[peer] -= 1
                    if not peers[peer]:
                        del peers[peer]
                lost(handler, exc)

            server.connection_made = connection_made  # type: ignore[method-assign]
            server.connection_lost = connection_lost  # type: ignore[method-assign]
        return server


class Room:
    """How much of bodies is held in memory, for both doors together."""

    def __init__(self, limit: int = BODY_LIMIT) -> None:
        """`limit`: bytes of the largest body."""
        self.limit = limit
        self._held: dict[str, int] = {}

    @contextmanager
    def take(self, user_id: str, length: int | None) -> Iterator[None]:
        """For a call with a body of `length` bytes, None: not announced. Raises HTTPException."""
        size = self.limit if length is None else length
        if size > self.limit:
            raise web.HTTPRequestEntityTooLarge(self.limit, size)
        held = self._held.get(user_id, 0)
        if held + size > BODIES_AT_ONCE * self.limit:
            raise web.HTTPTooManyRequests
        self._held[user_id] = held + size
        try:
            yield
        finally:
            self._held[user_id] -= size
            if not self._held[user_id]:
                del self._held[user_id]


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"ok": True})


class _Ingress:
    """The door of members' own tools."""

    def __init__(self, directory: Directory, proxy: Proxy, room: Room) -> None:
        self.room = room
        self._directory = directory
        self._proxy = proxy

    @web.middleware
    async def guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Say refusals in the caller's dialect. `Proxy` deals with what fails once an answer has begun."""
        try:
            self._admit(request)
            return await handler(request)
        except ClawLoopsError as error:
            return respond(answers.of_error(error), _dialect(request))
        except web.HTTPException as error:
            return respond(answers.of_http(error.status), _dialect(request))

    async def models(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        return _json(listing.of_all([route.model for route in self._directory.routes(caller)], _dialect(request)))

    async def model(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        return _json(listing.of_one(self._named(request.match_info["name"], caller), _dialect(request)))

    async def version(self, request: web.Request) -> web.Response:
        self._caller(request)
        return _json({"version": listing.OLLAMA_VERSION})

    async def show(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        with self.room.take(caller.user_id, request.content_length):
            return _json(listing.shown(self._named(listing.asked(await _body_of(request)), caller)))

    async def call(self, request: web.Request) -> web.StreamResponse:
        caller = self._caller(request)
        with self.room.take(caller.user_id, request.content_length):
            body = rebuild(ENDPOINTS[request.path], await _body_of(request))
            route = self._directory.route(body.model, caller)
            with self._in_use(caller):
                return await self._proxy.forward(
                    request, caller, route, body, admitted=lambda: self._directory.admits(caller)
                )

    def _named(self, name: str, caller: Caller) -> Model:
        try:
            return self._directory.route(name, caller).model
        except Forbidden as error:
            raise NotFound(str(error)) from error

    def _caller(self, request: web.Request) -> Caller:
        return self._directory.find_key(_credential(request))

    def _admit(self, request: web.Request) -> None:
        """Raises Forbidden where nobody is answered."""

    def _in_use(self, caller: Caller) -> AbstractContextManager[None]:
        return nullcontext()


class _ForRuntimes(_Ingress):
    """The door of runtimes."""

    def __init__(
        self, directory: Directory, proxy: Proxy, room: Room, pool: ipaddress.IPv4Network, in_use: InUse
    ) -> None:
        super().__init__(directory, proxy, room)
        self._pool = pool
        self._used = in_use
        self._local: dict[str, bool] = {}  # local address -> in the pool; few, since they are the edge's own

    def _caller(self, request: web.Request) -> Caller:
        return self._directory.find(_credential(request), request.remote or "")

    def _admit(self, request: web.Request) -> None:
        name = request.transport.get_extra_info("sockname") if request.transport else None
        address = name[0] if name else ""
        admitted = self._local.get(address)
        if admitted is None:
            local = ipaddress.ip_address(address) if address else None
            admitted = local is not None and local in self._pool
            if len(self._local) < 4096:
                self._local[address] = admitted
        if not admitted and not (request.path == "/healthz" and _is_loopback(address)):
            raise Forbidden("The model gateway answers only on a workspace's own network.")

    def _in_use(self, caller: Caller) -> AbstractContextManager[None]:
        return self._used(caller.runtime_id)


async def _body_of(request: web.Request) -> bytes:
    """The whole body. Raises BadInput when it is packed or breaks off, HTTPException when it is too large or too slow.

    aiohttp itself waits for ever, also behind a malformed chunk, of which it does not tell a handler that is reading.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise BadInput("Send the body unpacked, without Content-Encoding.")
    try:
        if request.content.is_eof():  # all of it is there
            return await request.read()
        async with asyncio.timeout(BODY_WITHIN_S):
            return await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    except web.RequestPayloadError as error:
        raise BadInput("The body broke off, or is not framed as HTTP/1.1 wants it. Send the call again.") from error


def _credential(request: web.Request) -> str:
    """The one credential, the way OpenAI's or Anthropic's tools send it. Raises NotSignedIn."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    keys = request.headers.getall("x-api-key", [])
    if len(given) + len(keys) != 1:
        raise NotSignedIn("Send exactly one header 'Authorization: Bearer <token>' or 'x-api-key: <token>'.")
    if keys:
        return keys[0].strip()
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != "bearer":
        raise NotSignedIn("The Authorization header must be 'Bearer <token>'.")
    return token.strip()


def _dialect(request: web.Request) -> Dialect:
    return dialect_of(request.path, speaks_anthropic="anthropic-version" in request.headers)


def _json(answer: object) -> web.Response:
    return web.json_response(answer, headers={"Server": headers.USER_AGENT})


def _is_loopback(address: str) -> bool:
    return bool(address) and ipaddress.ip_address(address).is_loopback
