"""Who calls, and where a model's public name leads: in memory only, so that a call waits for no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from clawloops.clock import now_ms
from clawloops.errors import Forbidden, NotSignedIn
from clawloops.model.key import ApiKey
from clawloops.model.provider import Route


@dataclass(frozen=True, slots=True)
class Caller:
    """A runtime that has proved itself by its token and its address, or a member's own tool, by one of their keys."""

    user_id: str
    token_hash: bytes
    runtime_id: str = ""
    address: str = ""  # a runtime's: IPv4 address on its own network
    key_id: str = ""
    models: frozenset[str] = frozenset()  # public names that it may use; empty: every one
    expires_at: int = 0  # Unix ms; 0: never
    token_id: str | None = None  # of the personal token that the key was made with


def _ignore(runtime_id: str, peer: str) -> None:
    pass


class Directory:
    """Tokens and routes. Changed by the control plane in one loop turn, read by every call."""

    def __init__(self, *, on_refused: Callable[[str, str], None] = _ignore) -> None:
        """`on_refused(runtime_id, peer)` is told when a runtime's token comes from an address that is not its own."""
        self._on_refused = on_refused
        self._callers: dict[bytes, Caller] = {}  # by SHA-256 of the token
        self._hashes: dict[str, bytes] = {}  # runtime id -> SHA-256 of its one valid token
        self._places: dict[str, Caller] = {}  # runtimes by their address
        self._keys: dict[bytes, Caller] = {}  # by SHA-256 of the key
        self._routes: dict[str, Route] = {}
        self._weights: dict[str, float] = {}

    def set_routes(self, routes: Sequence[Route]) -> None:
        """Replace all public names. The order is kept in `routes()`."""
        self._routes = {route.model.name: route for route in routes}

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """What share of a backend's time members have, by user id; whoever is not named has 1."""
        self._weights = dict(weights)

    def weight_of(self, user_id: str) -> float:
        return self._weights.get(user_id, 1.0)

    def set_runtime(self, token_hash: bytes, *, runtime_id: str, user_id: str, address: str) -> None:
        """Admit the token with this SHA-256 from `address` (IPv4); the runtime's earlier token ends here."""
        self.drop_runtime(runtime_id)
        caller = Caller(user_id, token_hash, runtime_id=runtime_id, address=address)
        self._callers[token_hash] = self._places[address] = caller
        self._hashes[runtime_id] = token_hash

    def drop_runtime(self, runtime_id: str) -> None:
        """End the runtime's token. Nothing happens when it has none."""
        token_hash = self._hashes.pop(runtime_id, None)
        if token_hash is not None:
            gone = self._callers.pop(token_hash)
            if self._places.get(gone.address) == gone:
                del self._places[gone.address]

    def at(self, address: str) -> Caller | None:
        """The runtime whose address on its own network this is, as long as its token is good."""
        return self._places.get(address)

    def set_key(self, key: ApiKey) -> None:
        """Admit a member's key, from wherever its holder reaches the dashboard's host."""
        self._keys[key.token_hash] = Caller(
            key.user_id,
            key.token_hash,
            key_id=key.id,
            models=key.models,
            expires_at=key.expires_at,
            token_id=key.token_id,
        )

    def drop_key(self, key_id: str) -> None:
        self._keys = {each: caller for each, caller in self._keys.items() if caller.key_id != key_id}

    def drop_keys_of(self, user_id: str) -> None:
        self._keys = {each: caller for each, caller in self._keys.items() if caller.user_id != user_id}

    def drop_keys_made_with(self, token_id: str) -> None:
        self._keys = {each: caller for each, caller in self._keys.items() if caller.token_id != token_id}

    def admits(self, caller: Caller) -> bool:
        """Whether what it proved itself by is still good: a revoked one ends in mid-answer."""
        return (self._keys if caller.key_id else self._callers).get(caller.token_hash) == caller

    def find_key(self, token: str) -> Caller:
        """The member's tool behind this key. Raises NotSignedIn."""
        caller = self._keys.get(_hash(token))
        if caller is None or 0 < caller.expires_at <= now_ms():
            raise NotSignedIn("This key is not valid (any more). Make a new one on the dashboard, under Keys.")
        return caller

    def find(self, token: str, peer: str) -> Caller:
        """The runtime behind `token`. Raises NotSignedIn when it is unknown, or comes from another address (told)."""
        caller = self._callers.get(_hash(token))
        if caller is None:
            raise NotSignedIn(
                "This model token is not valid (any more). Restart the workspace: it then gets a new one."
            )
        if caller.address != peer:
            self._on_refused(caller.runtime_id, peer)
            raise NotSignedIn("This model token is not valid from here.")
        return caller

    def route(self, name: str, caller: Caller) -> Route:
        """Where the public name `name` leads, matched exactly, if this caller may use it. Raises Forbidden."""
        route = self._routes.get(name)
        if route is None or not _may_use(caller, route):
            raise Forbidden(
                f"There is no model {name[:100]!r} for you. GET /v1/models lists the names; ask your admin."
            )
        return route

    def routes(self, caller: Caller | None = None) -> list[Route]:
        """All of them, or those that this caller may use."""
        return [each for each in self._routes.values() if caller is None or _may_use(caller, each)]

    def routes_for(self, user_id: str) -> list[Route]:
        """Those that this member may use."""
        return [each for each in self._routes.values() if each.is_open_to(user_id)]


def _may_use(caller: Caller, route: Route) -> bool:
    return (not caller.models or route.model.name in caller.models) and route.is_open_to(caller.user_id)


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
