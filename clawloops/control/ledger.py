"""What was used: settled calls go to an append-only journal at once, and from there into the store each second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError
from clawloops.gateway.journal import Journal
from clawloops.model.usage import Total
from clawloops.store import usage
from clawloops.store.db import Database

LOG = "usage"
FOLD_EVERY_S = 1.0
log = logging.getLogger(__name__)


class Ledger:
    def __init__(self, db: Database, journal: Journal) -> None:
        self._db = db
        self._journal = journal

    async def fold(self) -> int:
        """Take what the journal holds since the last fold into the store, exactly once. Returns how many calls."""
        folded, offset = 0, await usage.offset(self._db, LOG)
        while True:
            calls, reached = await asyncio.to_thread(self._journal.read_from, offset)
            if reached == offset:
                return folded
            await usage.settle(self._db, calls, log=LOG, offset=reached)
            folded, offset = folded + len(calls), reached

    async def run(self) -> None:
        """Fold each second until cancelled. A store that fails is tried again: the journal keeps what is not folded."""
        while True:
            try:
                await self.fold()
            except (ClawLoopsError, OSError) as error:
                log.error("usage is kept in the journal and not yet in the store: %s", error)
            await asyncio.sleep(FOLD_EVERY_S)

    async def total_of(self, user_id: str) -> Total:
        """This month's sum of one member (the month of UTC)."""
        await self._latest()
        return await usage.total(self._db, user_id, *month_of(now_ms()))

    async def totals(self) -> dict[str, Total]:
        """This month's sums by user id."""
        await self._latest()
        return await usage.totals_by_user(self._db, *month_of(now_ms()))

    async def _latest(self) -> None:
        with contextlib.suppress(OSError):  # a page is shown with the sums as they were; `run` reports the failure
            await self.fold()


def month_of(instant: int) -> tuple[int, int]:
    """First ms of the instant's calendar month in UTC, and first ms of the next one."""
    first = datetime.fromtimestamp(instant / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp() * 1000), int(following.timestamp() * 1000)
