"""Argon2id password hashes, computed off the event loop and never more than two at once (64 MiB each)."""

from __future__ import annotations

import asyncio
import os

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from clawloops.errors import BadInput

MIN_LENGTH = 10
MAX_LENGTH = 1024
_MEMORY_KIB = 64 * 1024
_PASSES = 3


class Passwords:
    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(2)
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """A PHC string (RFC 9106, the format of the reference implementation). Raises BadInput for field `password`."""
        if len(password) < MIN_LENGTH:
            raise BadInput(f"Choose a password of at least {MIN_LENGTH} characters.", field="password")
        if len(password) > MAX_LENGTH:
            raise BadInput(f"A password has at most {MAX_LENGTH} characters.", field="password")
        async with self._gate:
            return await asyncio.to_thread(_derive, password)

    async def verify(self, password: str, known: str | None) -> bool:
        """Whether `password` is the one behind `known`; as slow without one, so that logins cannot be told.

        `known`: None for a login that there is not, "" for somebody who has no password.
        """
        if not known:
            self._decoy = self._decoy or await self.hash("a login that does not exist")
        async with self._gate:
            right = await asyncio.to_thread(_verify, password[:MAX_LENGTH], known or self._decoy or "")
        return right and bool(known) and len(password) <= MAX_LENGTH


def _derive(password: str) -> str:
    algorithm = Argon2id(salt=os.urandom(16), length=32, iterations=_PASSES, lanes=1, memory_cost=_MEMORY_KIB)
    return algorithm.derive_phc_encoded(password.encode())


def _verify(password: str, known: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password.encode(), known)
    except InvalidKey:
        return False
    return True
