"""A workspace's webhook address: switched on by its owner, opened by a token that is shown once and kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import Conflict, Forbidden, NotFound
from clawloops.model.account import User
from clawloops.model.runtime import Runtime
from clawloops.store import events, runtimes
from clawloops.store.db import Database

PREFIX = "clh_"  # so that scanners for leaked secrets know one


class Hooks:
    """One for all that there is: it remembers the hashes, so that guessing costs no query."""

    def __init__(self, db: Database, audit: Audit, *, wake: Callable[[str], None]) -> None:
        self._db = db
        self._audit = audit
        self._wake = wake
        self._known: dict[str, bytes | None] = {}  # by runtime id, as last read; only ever used to refuse
        self._changes = 0

    async def enable(self, runtime_id: str, by: User) -> str:
        """Switch the address on, or give it another token. Returns the token, which nobody can tell again."""
        token = PREFIX + secrets.token_urlsafe(32)
        await self._set(runtime_id, hashlib.sha256(token.encode()).digest(), "Its webhook address was switched on", by)
        return token

    async def disable(self, runtime_id: str, by: User) -> None:
        await self._set(runtime_id, None, "Its webhook address was switched off", by)

    async def admits(self, runtime_id: str, token: str) -> Runtime | None:
        """The workspace whose address is on and whose token this is. One answer for a wrong one and for none.

        Only the first question about each workspace and right tokens go to the store.
        """
        given = hashlib.sha256(token.encode()).digest()
        if runtime_id in self._known and not _fits(given, self._known[runtime_id]):
            return None
        changes = self._changes
        runtime = await runtimes.get(self._db, runtime_id)
        expected = runtime.hook_hash if runtime is not None else None
        if changes == self._changes:  # else the row may be one from before the change: a new token would stay shut out
            self._known[runtime_id] = expected
        return runtime if _fits(given, expected) else None

    async def _set(self, runtime_id: str, hook_hash: bytes | None, told: str, by: User) -> None:
        for _ in range(20):  # the loop or a second click may change the row meanwhile
            runtime = await runtimes.get(self._db, runtime_id)
            if runtime is None or (runtime.owner != by.id and not by.role.administers):
                raise NotFound("There is no such workspace. Go back to the first page.")
            if runtime.owner != by.id and hook_hash is not None:
                raise Forbidden("Only its owner can switch this on; an admin can switch it off.")
            try:
                await runtimes.put(self._db, replace(runtime, hook_hash=hook_hash))
            except Conflict:
                continue
            self._changes += 1
            self._known.pop(runtime_id, None)
            await self._audit.record(by.id or None, "workspace webhooks", runtime.slug, told)
            text = (
                f"Its webhook address was switched off by {by.name}"
                if hook_hash is None
                else f"Its webhook address was switched on by {by.name}"
            )
            await events.add(self._db, runtime.id, at=now_ms(), kind="settings", text=text, actor=by.id or None)
            self._wake(runtime.id)
            return
        raise Conflict("This workspace is being changed all the time. Try again in a moment.")


def _fits(given: bytes, expected: bytes | None) -> bool:
    return hmac.compare_digest(given, expected if expected is not None else bytes(32)) and expected is not None
