"""The two doors to the models: a token and where it comes from are checked before a byte of the body is read.

Runtimes' door answers only on addresses of the runtime pool, because a runtime with NET_ADMIN could reach any local
address (security.md, 3); on loopback it answers `/healthz` and nothing else. Members' own tools come through Traefik to
a door on loopback, which knows members' keys and no runtime's token.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from urllib.parse import unquote

import orjson

from clawloops.errors import BadInput, ClawLoopsError, Forbidden, NotFound, NotSignedIn
from clawloops.gateway import answers, headers, listing
from clawloops.gateway.body import rebuild
from clawloops.gateway.endpoints import ENDPOINTS, Dialect, dialect_of
from clawloops.gateway.proxy import Proxy, respond
from clawloops.gateway.route import Caller, Directory
from clawloops.model.decoy import Place, Spot, unnoticed
from clawloops.model.provider import Model
from clawloops.wire.request import CutBody, Reply, Request, TooLarge
from clawloops.wire.server import Server

BODY_LIMIT = 20 * 1024 * 1024  # bytes, where the settings say nothing else
BODY_WITHIN_S = 120.0  # from the end of the header to the end of the body; 20 MiB at 1.4 Mbit/s
BODIES_AT_ONCE = 4  # of the largest size, or as much in smaller ones, that one member's calls hold together
MOST_CONNECTIONS = 64  # that one runtime keeps open
IDLE_S = 75.0  # without a whole header, at the start of a connection and between two calls
TAKES_S = 30.0  # that a caller may take nothing of an answer: others may wait for what the call holds
_Handler = Callable[[Request], Awaitable[Reply | None]]


InUse = Callable[[str], AbstractContextManager[None]]
"""Takes a runtime's id; a call of that runtime is under way while the context is open."""


def gateway(
    directory: Directory,
    proxy: Proxy,
    *,
    pool: ipaddress.IPv4Network,
    in_use: InUse | None = None,
    room: Room | None = None,
    most_per_peer: int = MOST_CONNECTIONS,
    spot: Spot = unnoticed,
) -> Server:
    """What runtimes reach on their own networks. `pool` holds every member network."""
    door = _ForRuntimes(
        directory, proxy, room or Room(), pool=pool, in_use=in_use or (lambda _: nullcontext()), spot=spot
    )
    return _server(door, most_per_peer=most_per_peer)


def members_door(directory: Directory, proxy: Proxy, *, room: Room | None = None, spot: Spot = unnoticed) -> Server:
    """What members' own tools reach on the dashboard's host; let it listen on loopback, behind Traefik."""
    return _server(_Ingress(directory, proxy, room or Room(), spot=spot))


def _server(door: _Ingress, *, most_per_peer: int = 0) -> Server:
    return Server(door.answer, _refused, idle_s=IDLE_S, takes_s=TAKES_S, most_per_peer=most_per_peer)


def _refused(status: int) -> Reply:
    """To what is no request, in whose dialect cannot be known."""
    return respond(answers.of_http(status), Dialect.OPENAI)


class TooMuch(Exception):
    """A member's calls hold as much as they may."""


class Room:
    """How much of bodies is held in memory, for both doors together."""

    def __init__(self, limit: int = BODY_LIMIT) -> None:
        """`limit`: bytes of the largest body."""
        self.limit = limit
        self._held: dict[str, int] = {}

    @contextmanager
    def take(self, user_id: str, length: int | None) -> Iterator[None]:
        """For a call with a body of `length` bytes, None: not announced. Raises TooLarge, TooMuch."""
        size = self.limit if length is None else length
        if size > self.limit:
            raise TooLarge
        held = self._held.get(user_id, 0)
        if held + size > BODIES_AT_ONCE * self.limit:
            raise TooMuch
        self._held[user_id] = held + size
        try:
            yield
        finally:
            self._held[user_id] -= size
            if not self._held[user_id]:
                del self._held[user_id]


class _Ingress:
    """The door of members' own tools."""

    def __init__(self, directory: Directory, proxy: Proxy, room: Room, *, spot: Spot) -> None:
        self.room = room
        self._spot = spot
        self._directory = directory
        self._proxy = proxy
        self._paths: Mapping[str, Mapping[str, _Handler]] = {
            "/healthz": {"GET": _health},
            "/v1/models": {"GET": self.models},
            "/api/tags": {"GET": self.models},
            "/api/version": {"GET": self.version},
            "/api/show": {"POST": self.show},
            **{path: {"POST": self.call} for path in ENDPOINTS},
        }

    async def answer(self, request: Request) -> Reply | None:
        """Refusals are said in the caller's dialect. `Proxy` deals with what fails once an answer has begun."""
        try:
            self._admit(request)
            return await self._handler(request)(request)
        except NotSignedIn as error:
            self._look_through(request)
            refusal = answers.of_error(error)
        except ClawLoopsError as error:
            refusal = answers.of_error(error)
        except TooLarge:
            refusal = answers.of_http(413)
        except TooMuch:
            refusal = answers.of_http(429)
        except TimeoutError:
            refusal = answers.of_http(408)
        return respond(refusal, _dialect(request))

    async def models(self, request: Request) -> Reply:
        caller = self._caller(request)
        return _json(listing.of_all([route.model for route in self._directory.routes(caller)], _dialect(request)))

    async def model(self, request: Request) -> Reply:
        caller = self._caller(request)
        name = unquote(request.path.removeprefix(_ONE))
        return _json(listing.of_one(self._named(name, caller), _dialect(request)))

    async def version(self, request: Request) -> Reply:
        self._caller(request)
        return _json({"version": listing.OLLAMA_VERSION})

    async def show(self, request: Request) -> Reply:
        caller = self._caller(request)
        with self.room.take(caller.user_id, request.content_length):
            return _json(listing.shown(self._named(listing.asked(await self._body(request)), caller)))

    async def call(self, request: Request) -> Reply | None:
        caller = self._caller(request)
        with self.room.take(caller.user_id, request.content_length):
            body = rebuild(ENDPOINTS[request.path], await self._body(request))
            route = self._directory.route(body.model, caller)
            with self._in_use(caller):
                return await self._proxy.forward(
                    request, caller, route, body, admitted=lambda: self._directory.admits(caller)
                )

    def _handler(self, request: Request) -> _Handler:
        methods = self._paths.get(request.path)
        if methods is None:
            if not request.path.startswith(_ONE):
                return self._unknown
            methods = {"GET": self.model}
        return methods.get(request.method, self._wrong_method)

    async def _unknown(self, request: Request) -> Reply:
        self._look_through(request)
        return respond(answers.of_http(404), _dialect(request))

    async def _wrong_method(self, request: Request) -> Reply:
        self._look_through(request)
        return respond(answers.of_http(405), _dialect(request))

    def _look_through(self, request: Request) -> None:
        """For decoys, in what is refused whoever sends it. Whoever tries a key may put it into any field."""
        fields = [*request.header.values(), *(each for values in request.repeated.values() for each in values)]
        self._spot("\n".join(fields), *self._origin(request))

    async def _body(self, request: Request) -> bytes:
        """The whole body. Raises BadInput when it is packed or breaks off, TooLarge, TimeoutError."""
        if "content-encoding" in request.repeated or request.header.get("content-encoding", "identity") != "identity":
            raise BadInput("Send the body unpacked, without Content-Encoding.")
        try:
            if request.is_whole:
                return await request.body(self.room.limit)
            async with asyncio.timeout(BODY_WITHIN_S):
                return await request.body(self.room.limit)
        except CutBody as error:
            raise BadInput("The body is not framed as HTTP/1.1 wants it. Send the call again.") from error

    def _named(self, name: str, caller: Caller) -> Model:
        try:
            return self._directory.route(name, caller).model
        except Forbidden as error:
            raise NotFound(str(error)) from error

    def _caller(self, request: Request) -> Caller:
        return self._directory.find_key(_credential(request))

    def _origin(self, request: Request) -> tuple[Place, str]:
        """Where this is, and who calls: the address that Traefik saw, which it writes last."""
        forwarded = [request.header.get(_FORWARDED, ""), *request.repeated.get(_FORWARDED, ())]
        return Place.TOOLS, ",".join(forwarded).rpartition(",")[2].strip() or request.peer

    def _admit(self, request: Request) -> None:
        """Raises Forbidden where nobody is answered."""

    def _in_use(self, caller: Caller) -> AbstractContextManager[None]:
        return nullcontext()


class _ForRuntimes(_Ingress):
    """The door of runtimes."""

    def __init__(
        self,
        directory: Directory,
        proxy: Proxy,
        room: Room,
        *,
        pool: ipaddress.IPv4Network,
        in_use: InUse,
        spot: Spot,
    ) -> None:
        super().__init__(directory, proxy, room, spot=spot)
        self._pool = pool
        self._used = in_use
        self._local: dict[str, bool] = {}  # local address -> in the pool; few, since they are the edge's own

    def _caller(self, request: Request) -> Caller:
        return self._directory.find(_credential(request), request.peer)

    def _origin(self, request: Request) -> tuple[Place, str]:
        caller = self._directory.at(request.peer)
        return Place.GATEWAY, caller.runtime_id if caller is not None else request.peer

    def _admit(self, request: Request) -> None:
        address = request.local
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


_ONE = "/v1/models/"  # and a public name
_FORWARDED = "x-forwarded-for"


async def _health(request: Request) -> Reply:
    return _json({"ok": True})


def _credential(request: Request) -> str:
    """The one credential, the way OpenAI's or Anthropic's tools send it. Raises NotSignedIn."""
    given, key = request.header.get("authorization"), request.header.get("x-api-key")
    if (given is None) == (key is None) or not request.repeated.keys().isdisjoint(("authorization", "x-api-key")):
        raise NotSignedIn("Send exactly one header 'Authorization: Bearer <token>' or 'x-api-key: <token>'.")
    if key is not None:
        return key.strip()
    scheme, _, token = (given or "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotSignedIn("The Authorization header must be 'Bearer <token>'.")
    return token.strip()


def _dialect(request: Request) -> Dialect:
    return dialect_of(request.path, speaks_anthropic="anthropic-version" in request.header)


def _json(answer: object) -> Reply:
    return Reply(200, orjson.dumps(answer), headers.OF_JSON)


def _is_loopback(address: str) -> bool:
    return bool(address) and ipaddress.ip_address(address).is_loopback
