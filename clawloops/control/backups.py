"""Keeps copies of the store on the box: one a day by itself, and one whenever an admin wants it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import ClawLoopsError, Conflict, Forbidden, NotFound, Unavailable
from clawloops.model.account import User
from clawloops.model.backup import Backup, Reason, expired
from clawloops.model.report import DAY_MS
from clawloops.store import backups
from clawloops.store.db import Database

_log = logging.getLogger(__name__)

MOST_ASKED = 20  # kept at a time
LOOK_S = 300.0


class Backups:
    """PostgreSQL is backed up by its own tools: on it there are none, and none can be made."""

    def __init__(self, db: Database, audit: Audit, folder: Path) -> None:
        self._db = db
        self._audit = audit
        self._folder = folder
        self._making = asyncio.Lock()

    @property
    def is_offered(self) -> bool:
        return self._db.dialect == "sqlite"

    async def all(self, *, by: User) -> list[Backup]:
        """Newest first. Raises Forbidden, Unavailable."""
        if not by.role.oversees:
            raise Forbidden("This is for admins and viewers.")
        return await self._every() if self.is_offered else []

    async def make(self, *, by: User) -> Backup:
        """One more, now. Of a large store this takes seconds. Raises Forbidden, Conflict, Unavailable."""
        _admin(by)
        async with self._making:
            kept = await self._every()
            if sum(each.reason is Reason.ASKED for each in kept) >= MOST_ASKED:
                raise Conflict(f"{MOST_ASKED} backups that were asked for are kept already. Remove one first.")
            made = await self._make(Reason.ASKED)
        await self._audit.record(by.id, "backup made", made.name)
        return made

    async def remove(self, name: str, *, by: User) -> None:
        """Raises Forbidden, NotFound, Unavailable."""
        _admin(by)
        found = next((each for each in await self._every() if each.name == name), None)
        if found is None:
            raise NotFound("There is no such backup. Reload the page.")
        try:
            await backups.remove(self._folder, found)
        except OSError as error:
            raise Unavailable(f"The backup cannot be removed ({error.strerror}). Check its folder.") from error
        await self._audit.record(by.id, "backup removed", name)

    async def run(self, *, every_s: float = LOOK_S) -> None:
        """See to one a day until cancelled; what goes wrong is tried again. The doctor tells when none was made."""
        while self.is_offered:
            await asyncio.sleep(every_s)
            try:
                await self._daily()
            except (ClawLoopsError, OSError) as error:
                _log.error("the backup of the day was not made: %s", error)

    async def _daily(self) -> None:
        async with self._making:
            kept = await self._every()
            if any(each.reason is Reason.DAILY and now_ms() - each.made_at < DAY_MS for each in kept):
                return
            made = await self._make(Reason.DAILY)
            for each in expired([made, *kept]):
                await backups.remove(self._folder, each)

    async def _every(self) -> list[Backup]:
        try:
            return await backups.every(self._folder)
        except OSError as error:
            raise Unavailable(f"The folder of backups cannot be read ({error.strerror}). Check its owner.") from error

    async def _make(self, reason: Reason) -> Backup:
        try:
            made = await backups.make(self._db, self._folder, reason, now=now_ms())
        except ClawLoopsError as error:
            raise Unavailable(str(error)) from error
        if made is None:
            raise Conflict("This box keeps its data in PostgreSQL, which has its own tool for that: pg_dump.")
        return made


def _admin(by: User) -> None:
    if not by.role.administers:
        raise Forbidden("Only an admin can look after backups.")
