"""Who calls, and where a model's public name leads: in memory only, so that a call waits for no database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from clawloops.errors import Forbidden, NotSignedIn
from clawloops.model.provider import Target


@dataclass(frozen=True, slots=True)
class Caller:
    """A runtime that has proved itself by its token and its address."""

    runtime_id: str
    user_id: str
    address: str  # IPv4 address on the runtime's own network


def _ignore(runtime_id: str, peer: str) -> None:
    pass


class Directory:
    """Tokens and targets. Changed by the control plane in one loop turn, read by every call."""

    def __init__(self, *, on_refused: Callable[[str, str], None] = _ignore) -> None:
        """`on_refused(runtime_id, peer)` is told when a runtime's token comes from an address that is not its own."""
        self._on_refused = on_refused
        self._callers: dict[bytes, Caller] = {}  # by SHA-256 of the token
        self._hashes: dict[str, bytes] = {}  # runtime id -> SHA-256 of its one valid token
        self._targets: dict[str, Target] = {}

    def set_models(self, targets: Sequence[Target]) -> None:
        """Replace all public names. The order is kept in `targets()`."""
        self._targets = {target.model.name: target for target in targets}

    def set_runtime(self, token_hash: bytes, *, runtime_id: str, user_id: str, address: str) -> None:
        """Admit the token with this SHA-256 from `address` (IPv4); the runtime's earlier token ends here."""
        self.drop_runtime(runtime_id)
        self._callers[token_hash] = Caller(runtime_id, user_id, address)
        self._hashes[runtime_id] = token_hash

    def drop_runtime(self, runtime_id: str) -> None:
        """End the runtime's token. Nothing happens when it has none."""
        token_hash = self._hashes.pop(runtime_id, None)
        if token_hash is not None:
            self._callers.pop(token_hash, None)

    def find(self, token: str, peer: str) -> Caller:
        """The caller behind `token`. Raises NotSignedIn when it is unknown, or comes from another address (told)."""
        caller = self._callers.get(sha256(token.encode("utf-8", "surrogateescape")).digest())
        if caller is None:
            raise NotSignedIn(
                "This model token is not valid (any more). Restart the workspace: it then gets a new one."
            )
        if caller.address != peer:
            self._on_refused(caller.runtime_id, peer)
            raise NotSignedIn("This model token is not valid from here.")
        return caller

    def target(self, name: str) -> Target:
        """Where the public name `name` leads, matched exactly. Raises Forbidden."""
        target = self._targets.get(name)
        if target is None:
            raise Forbidden(
                f"There is no model {name[:100]!r} for you. GET /v1/models lists the names; ask your admin."
            )
        return target

    def targets(self) -> list[Target]:
        return list(self._targets.values())
