"""Rows of what was done. There is no way to change or delete one here."""

from __future__ import annotations

from clawloops.model.audit import AuditEntry
from clawloops.store.db import Database


async def add(  # noqa: PLR0917
    db: Database, at: int, actor: str | None, action: str, subject: str, detail: str
) -> None:
    """`at` is Unix ms; see AuditEntry for the rest."""
    await db.execute(
        "INSERT INTO audit (at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)",
        at,
        actor,
        action,
        subject,
        detail,
    )


async def latest(db: Database, limit: int) -> list[AuditEntry]:
    """The newest entries, newest first."""
    rows = await db.fetch("SELECT seq, at, actor, action, subject, detail FROM audit ORDER BY seq DESC LIMIT $1", limit)
    return [AuditEntry(**row) for row in rows]
