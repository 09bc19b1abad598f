"""The keys that a provider signs with (RFC 7517): kept for an hour, and read anew when it names one not seen yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jwt

from clawloops.clock import steady_ms
from clawloops.errors import BadIssuer

KEPT_MS = 3_600_000
ANEW_MS = 30_000
"""At most once in so long, however many tokens name keys that nobody has."""

_MOST = 100
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class Keys:
    def __init__(self, fetch: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        """`fetch`: the provider's key set, now. Raises Unavailable and BadIssuer."""
        self._fetch = fetch
        self._found: list[Mapping[str, Any]] = []
        self._read_at: int | None = None
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read them now. Raises Unavailable, and BadIssuer for a set that cannot be used."""
        document = await self._fetch()
        found = document.get("keys")
        if not isinstance(found, list) or not found or len(found) > _MOST:
            raise BadIssuer(f"its set of keys is not one of 1 to {_MOST}")
        self._found, self._read_at = [each for each in found if isinstance(each, dict)], steady_ms()

    async def find(self, algorithm: str, kid: str | None) -> jwt.PyJWK:
        """The key that a token names, or the only one that fits where it names none. Raises Unavailable, BadIssuer."""
        async with self._lock:
            if self._is_older_than(KEPT_MS):
                await self.load()
            key = self._named(algorithm, kid)
            if key is None and self._is_older_than(ANEW_MS):
                await self.load()
                key = self._named(algorithm, kid)
        if key is None:
            raise BadIssuer("its ID token is signed with a key that it does not name as its own")
        return key

    def _is_older_than(self, ms: int) -> bool:
        return self._read_at is None or steady_ms() - self._read_at >= ms

    def _named(self, algorithm: str, kid: str | None) -> jwt.PyJWK | None:
        fitting = [
            each
            for each in self._found
            if each.get("kty") == _KINDS[algorithm[:2]]
            and each.get("use", "sig") == "sig"
            and each.get("alg", algorithm) == algorithm
            and (kid is None or each.get("kid") == kid)
        ]
        if len(fitting) != 1:  # of several, a token has to say which
            return None
        try:
            return jwt.PyJWK(dict(fitting[0]), algorithm=algorithm)
        except (jwt.InvalidKeyError, jwt.PyJWKError) as error:
            raise BadIssuer("the key that its ID token is signed with cannot be read") from error
