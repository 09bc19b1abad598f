"""Who did what, and when: one row for every change that a person makes, chained so that none can be changed unseen."""

from __future__ import annotations

from clawloops.clock import now_ms
from clawloops.model.audit import AuditEntry, Verdict, follows
from clawloops.store import audit
from clawloops.store.db import Database

_PAGE = 1000  # entries


class Audit:
    def __init__(self, db: Database, key: bytes) -> None:
        """`key`: the chain's (`store.chain`). Without it nobody can write an entry that `verify` takes for ours."""
        self._db = db
        self._key = key

    async def record(self, actor: str | None, action: str, subject: str, detail: str = "") -> None:
        """Write one entry. `actor` is a user id, None for the system; no secret and no content goes into `detail`."""
        await audit.add(self._db, self._key, now_ms(), actor, action, subject, detail)

    async def latest(self, limit: int = 50) -> list[AuditEntry]:
        return await audit.latest(self._db, limit)

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
