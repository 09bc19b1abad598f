"""Challenges for passkeys: each is good once, for one purpose, in one browser, for five minutes.

A challenge proves by its own authentication code what it was made for, so nobody can crowd out those of others by
asking for many. Only used ones are remembered, until they have expired. After a restart of the process none is good.
"""

from __future__ import annotations

import hmac
import secrets

from clawloops.clock import steady_ms
from clawloops.errors import BadInput

VALID_MS = 5 * 60_000
_ENDS, _RANDOM = 8, 24  # bytes


class Challenges:
    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._used: dict[bytes, int] = {}

    def give(self, purpose: str, *, tied_to: str) -> bytes:
        """A fresh one. `tied_to`: a secret of the browser that gets it."""
        body = (steady_ms() + VALID_MS).to_bytes(_ENDS, "big") + secrets.token_bytes(_RANDOM)
        return body + self._mac(body, purpose, tied_to)

    def use(self, challenge: bytes, purpose: str, *, tied_to: str) -> None:
        """Use one up. Raises BadInput when it is none of ours for this, has expired, or was used."""
        body, mac = challenge[: _ENDS + _RANDOM], challenge[_ENDS + _RANDOM :]
        now, ends = steady_ms(), int.from_bytes(body[:_ENDS], "big")
        if not hmac.compare_digest(mac, self._mac(body, purpose, tied_to)) or ends <= now or body in self._used:
            raise BadInput("That took too long, or was sent twice. Try again.")
        self._used = {each: until for each, until in self._used.items() if until > now}
        self._used[body] = ends

    def _mac(self, body: bytes, purpose: str, tied_to: str) -> bytes:
        return hmac.digest(self._key, b"\0".join((purpose.encode(), tied_to.encode(), body)), "sha256")
