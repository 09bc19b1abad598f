"""Wishes about workspaces: written down here, made true by the orchestrator. No Docker call is made in a request."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from ipaddress import IPv4Network

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import Conflict, Forbidden, NotFound, Unavailable
from clawloops.model.account import User
from clawloops.model.runtime import Runtime, Want
from clawloops.store import runtimes
from clawloops.store.db import Database

PREFIX = 29
_SLUG_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is misread aloud


class Runtimes:
    def __init__(self, db: Database, audit: Audit, *, pool: IPv4Network, wake: Callable[[str], None]) -> None:
        self._db = db
        self._audit = audit
        self._pool = pool
        self._wake = wake

    async def of_owner(self, user_id: str) -> Runtime | None:
        return await runtimes.by_owner(self._db, user_id)

    async def of_slug(self, slug: str) -> Runtime | None:
        return await runtimes.by_slug(self._db, slug)

    async def get(self, runtime_id: str, *, by: User) -> Runtime:
        """One's own workspace; an admin may see the state of everybody's. NotFound otherwise."""
        runtime = await runtimes.get(self._db, runtime_id)
        if runtime is None or (runtime.owner != by.id and not by.role.administers):
            raise NotFound("There is no such workspace. Go back to the first page.")
        return runtime

    async def open(self, user: User) -> Runtime:
        """The member's workspace, wanted running: made at the first time, found again later."""
        runtime = await self.of_owner(user.id) or await self._make(user)
        return await self.wish(runtime.id, Want.RUNNING, by=user)

    async def wish(self, runtime_id: str, want: Want, *, by: User) -> Runtime:
        """Write a wish down and wake the loop. Wishing for the same again clears an earlier failure's wait."""
        runtime = await self.get(runtime_id, by=by)
        if runtime.owner != by.id and want is not Want.STOPPED:
            raise Forbidden("Only its owner can do this; an admin can stop it.")
        while runtime.want is not want:
            try:
                runtime = await runtimes.set_want(self._db, runtime, want)
            except Conflict:  # the loop or a second click changed the row meanwhile: the later wish counts
                runtime = await self.get(runtime_id, by=by)
            else:
                await self._audit.record(by.id, f"workspace wanted {want}", runtime.slug)
        if runtime.failures or runtime.failure:
            runtime = await runtimes.set_failure(self._db, runtime.id, 0, "", 0)
        self._wake(runtime.id)
        return runtime

    async def stop_for(self, user_id: str) -> None:
        """Stop a disabled member's runtime, in the name of the system."""
        runtime = await self.of_owner(user_id)
        if runtime is not None and runtime.want is Want.RUNNING:
            await runtimes.set_want(self._db, runtime, Want.STOPPED)
            await self._audit.record(None, "workspace stopped", runtime.slug, "its member was disabled")
            self._wake(runtime.id)

    async def _make(self, user: User) -> Runtime:
        for _ in range(8):  # another request may take the same address range or slug in between
            runtime = Runtime(
                id="r" + secrets.token_hex(8),
                owner=user.id,
                slug=_slug(user.login),
                want=Want.STOPPED,
                subnet=await self._free_subnet(),
                generation=0,
                token_hash=None,
                version=1,
                failures=0,
                failure="",
                retry_at=0,
                created_at=now_ms(),
            )
            try:
                await runtimes.add(self._db, runtime)
            except Conflict:
                existing = await self.of_owner(user.id)
                if existing is not None:
                    return existing
                continue
            await self._audit.record(user.id, "workspace made", runtime.slug)
            return runtime
        raise Unavailable("No free workspace address could be reserved. Try again in a moment.")

    async def _free_subnet(self) -> str:
        taken = await runtimes.subnets(self._db)
        for subnet in self._pool.subnets(new_prefix=PREFIX):
            if str(subnet) not in taken:
                return str(subnet)
        raise Unavailable(
            f"Every member network of the pool {self._pool} is in use. Set a larger CLAWLOOPS_RUNTIME_POOL in .env."
        )


def _slug(login: str) -> str:
    tail = "".join(secrets.choice(_SLUG_ALPHABET) for _ in range(6))
    return f"{re.sub(r'[^a-z0-9]+', '-', login).strip('-')[:24].strip('-') or 'w'}-{tail}"
