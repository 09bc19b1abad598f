"""Who did what, and when: one row for every change that a person makes."""

from __future__ import annotations

from clawloops.clock import now_ms
from clawloops.model.audit import AuditEntry
from clawloops.store import audit
from clawloops.store.db import Database


class Audit:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def record(self, actor: str | None, action: str, subject: str, detail: str = "") -> None:
        """Write one entry. `actor` is a user id, None for the system; no secret and no content goes into `detail`."""
        await audit.add(self._db, now_ms(), actor, action, subject, detail)

    async def latest(self, limit: int = 50) -> list[AuditEntry]:
        return await audit.latest(self._db, limit)
