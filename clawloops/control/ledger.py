"""What was used: calls go to an append-only journal at once, and once settled from there into the store each second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from clawloops.clock import now_ms, steady_ms
from clawloops.errors import ClawLoopsError
from clawloops.gateway.journal import Journal
from clawloops.model.report import DAY_MS, Month
from clawloops.model.usage import Call, Opened, Pace, Progress, Total, lost
from clawloops.store import usage, usage_days
from clawloops.store.db import Database

LOG = "usage"
FOLD_EVERY_S = 1.0
_KEPT_MS = 10_000  # what many rows have to be read for, and a call more hardly changes
_LARGE = 64 * 1024 * 1024  # bytes of a journal that is worth beginning anew
log = logging.getLogger(__name__)


class Sums:
    """What the store holds of calls. A process beside the one that has the journal reads them as of its last fold."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._paces: tuple[dict[str, Pace], int] = {}, 0  # and until when they will do
        self._words: tuple[Month | None, dict[str, dict[int, int]], int] = None, {}, 0  # of a month; as above

    async def catch_up(self) -> None:
        """Let the store hold what was settled until now, where that is this process's to do."""

    async def total_of(self, user_id: str) -> Total:
        """This month's sum of one member (the month of UTC)."""
        await self.catch_up()
        return await usage_days.total(self._db, Month.around(now_ms()).days, user_id)

    async def totals(self) -> dict[str, Total]:
        """This month's sums by user id."""
        await self.catch_up()
        return await usage_days.by_user(self._db, Month.around(now_ms()))

    async def answered(self) -> frozenset[str]:
        """The models (public names) that have ever answered a call."""
        await self.catch_up()
        return await usage_days.answered(self._db)

    async def paces(self) -> dict[str, Pace]:
        """How fast each backend has answered in the last 24 hours, by its id; those that did not are left out.

        All of these calls have to be read for it: it is as of at most ten seconds ago.
        """
        paces, until = self._paces
        if steady_ms() >= until:
            await self.catch_up()
            paces = await usage.paces(self._db, now_ms() - DAY_MS)
            self._paces = paces, steady_ms() + _KEPT_MS
        return paces

    async def first_words(self, month: Month) -> dict[str, dict[int, int]]:
        """By model: how many of everybody's calls had their first word within so many eighths of an octave.

        As of at most ten seconds ago: a month holds some hundred counts, and they are told to 5 % alone.
        """
        of, words, until = self._words
        if of != month or steady_ms() >= until:
            await self.catch_up()
            words = await usage_days.first_words(self._db, month)
            self._words = month, words, steady_ms() + _KEPT_MS
        return words


class Ledger(Sums):
    def __init__(self, db: Database, journal: Journal) -> None:
        super().__init__(db)
        self._journal = journal
        self._lock = asyncio.Lock()
        self._read: int | None = None  # bytes of the journal that are in the store, or in `_open`
        self._open: dict[str, tuple[int, Opened, Progress | None]] = {}  # by id, each with where its record begins

    async def fold(self) -> int:
        """Take what the journal holds since the last fold into the store, exactly once. Returns how many calls."""
        async with self._lock:
            return len(await self._fold())

    @asynccontextmanager
    async def folded(self, begun: Callable[[], None]) -> AsyncIterator[frozenset[str]]:
        """While this is open the store holds all that was settled before `begun` is called, and nothing new.

        Yields the ids of what was settled after that and is in the store as well.
        """
        async with self._lock:
            begun()
            yield frozenset(await self._fold())

    async def settle_lost(self) -> int:
        """Charge the calls that an earlier process left open when it was ended. Returns how many.

        For the start, before the first call of this process: every open one is lost then.
        """
        await self.fold()
        calls = [lost(opened, progress) for _, opened, progress in self._open.values()]
        for call in calls:
            self._journal.append(call)
        await self.fold()
        if calls:
            log.warning("%d model calls ended with the last process; each is charged as far as it was seen", len(calls))
        return len(calls)

    async def run(self) -> None:
        """Fold each second until cancelled. A store that fails is tried again: the journal keeps what is not folded."""
        while True:
            try:
                await self.fold()
                await self._begin_anew()
            except (ClawLoopsError, OSError) as error:
                log.error("usage is kept in the journal and not yet in the store: %s", error)
            await asyncio.sleep(FOLD_EVERY_S)

    async def _fold(self) -> list[str]:
        """The ids of the calls. The store is told to begin, next time, with the oldest call that is still open."""
        ids: list[str] = []
        if self._read is None:
            self._read = await usage.offset(self._db, LOG)
        while self._read != self._journal.size:
            records, reached = await asyncio.to_thread(self._journal.read_from, self._read)
            if reached == self._read:  # the last line is torn
                break
            calls = [call for at, record in records if (call := self._take(at, record)) is not None]
            floor = min((at for at, _, _ in self._open.values()), default=reached)
            await usage.settle(self._db, calls, log=LOG, offset=floor)
            ids += (call.id for call in calls)
            self._read = reached
        return ids

    def _take(self, at: int, record: Opened | Progress | Call) -> Call | None:
        """Note a call that is under way, or return one that is settled."""
        match record:
            case Opened():
                self._open[record.id] = (at, record, None)
            case Progress():
                if record.id in self._open:
                    begun, opened, _ = self._open[record.id]
                    self._open[record.id] = (begun, opened, record)
            case Call():
                self._open.pop(record.id, None)
                return record
        return None

    async def _begin_anew(self) -> None:
        """Let a large journal go but for the calls that are open, once all others are in the store."""
        async with self._lock:
            if self._read is None or self._read < _LARGE:
                return
            await usage.settle(self._db, [], log=LOG, offset=0)  # ended here, the next process reads all of it again
            kept = [record for _, opened, progress in self._open.values() for record in (opened, progress) if record]
            begin, self._read = self._journal.begin_anew(kept, self._read)
            at = dict(zip(map(id, kept), begin, strict=True))
            self._open = {
                each: (at[id(opened)], opened, progress) for each, (_, opened, progress) in self._open.items()
            }

    async def catch_up(self) -> None:
        """Let the store hold what was settled until now, if it can be written to."""
        with contextlib.suppress(OSError):  # a page is shown with the sums as they were; `run` reports the failure
            await self.fold()
