"""Who did what, and when: one row for every change that a person makes, chained so that none can be changed unseen."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from clawloops.clock import now_ms, steady_ms
from clawloops.errors import Forbidden
from clawloops.model.account import User
from clawloops.model.audit import AuditEntry, Verdict, Wanted, follows
from clawloops.store import audit
from clawloops.store.db import Database

_PAGE = 1000  # entries
REFUSALS = 200  # entries in an hour
_HOUR_MS = 3_600_000
_END = 2**62
_by_way_of: ContextVar[str] = ContextVar("by_way_of", default="")


@contextmanager
def by_way_of(what: str) -> Iterator[None]:
    """Entries that are written meanwhile, and by what is begun meanwhile, name `what` as the tool of their actor."""
    mark = _by_way_of.set(what)
    try:
        yield
    finally:
        _by_way_of.reset(mark)


class Audit:
    def __init__(self, db: Database, key: bytes) -> None:
        """`key`: the chain's (`store.chain`). Without it nobody can write an entry that `verify` takes for ours."""
        self._db = db
        self._key = key
        self._refused: deque[int] = deque(maxlen=REFUSALS)  # when one was written, on the steady clock
        self._unwritten = 0  # refusals since then

    async def record(self, actor: str | None, action: str, subject: str, detail: str = "") -> None:
        """Write one entry. `actor` is a user id; None, or "" of the command line, names nobody.

        No secret and no content goes into `detail`.
        """
        if way := _by_way_of.get():
            detail = f"{detail}, with {way}" if detail else f"with {way}"
        await audit.add(self._db, self._key, now_ms(), actor or None, action, subject, detail)

    async def record_refused(self, actor: str | None, action: str, subject: str, detail: str = "") -> None:
        """The same for what was not let in, which anybody can bring about as often as they like.

        Of more than `REFUSALS` in an hour the rest is counted, and the next one that is written tells how many.
        """
        now = steady_ms()
        if len(self._refused) == REFUSALS and now - self._refused[0] < _HOUR_MS:
            self._unwritten += 1
            return
        more, self._unwritten = self._unwritten, 0
        self._refused.append(now)
        if more:
            detail = f"{detail}; {more} refusals before it were not written".removeprefix("; ")
        await self.record(actor, action, subject, detail)

    async def latest(self, limit: int = 50, *, before: int | None = None) -> list[AuditEntry]:
        """The newest entries, newest first; `before`: those below this number, for the next page."""
        return await audit.latest(self._db, limit, before=before)

    async def find(self, wanted: Wanted, limit: int, *, before: int | None, by: User) -> list[AuditEntry]:
        """Newest first; `before`: those below this number, for the next page. Raises Forbidden."""
        _admin(by)
        return await audit.find(self._db, wanted, limit, before=_END if before is None else before)

    async def find_all(self, wanted: Wanted, *, by: User) -> AsyncIterator[AuditEntry]:
        """Newest first, some at a time. Raises Forbidden."""
        before: int | None = None
        while page := await self.find(wanted, _PAGE, before=before, by=by):
            for entry in page:
                yield entry
            before = page[-1].seq

    async def verify(self, *, head: str = "") -> Verdict:
        """Follow the chain from its first entry. `head`: a hash that was noted, and must be in it."""
        entries, unchained, seq, prev, has_head = 0, 0, 0, "", not head
        while page := await audit.after(self._db, seq, _PAGE):
            for entry in page:
                seq = entry.seq
                if entry.hash is None and not entries:
                    unchained += 1
                    continue
                if why := follows(self._key, prev, entry):
                    return Verdict(entries, unchained, prev, why, seq)
                entries, prev = entries + 1, entry.hash or ""
                has_head = has_head or prev == head
        if not has_head:
            return Verdict(entries, unchained, prev, "the hash that you noted is not in it: its end was cut off", seq)
        return Verdict(entries, unchained, prev)


def _admin(by: User) -> None:
    if not by.role.administers:
        raise Forbidden("Only an admin can see what was done on this box.")
