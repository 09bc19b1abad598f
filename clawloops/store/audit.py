"""Rows of what was done. There is no way to change or delete one here."""

from __future__ import annotations

import re
from typing import Any

from clawloops.model.audit import AuditEntry, Wanted, link
from clawloops.store.db import Database

_LOCK = 0x61756474  # any fixed number; PostgreSQL's lock against two entries with the same one before them
_ESCAPE = "!"
_LITERAL = re.compile("[!%_]")  # what LIKE takes for more than itself
_COLUMNS = "seq, at, actor, action, subject, detail, prev, hash"


async def add(  # noqa: PLR0917
    db: Database, key: bytes, at: int, actor: str | None, action: str, subject: str, detail: str
) -> None:
    """Chain one to the newest, with the chain's `key`. `at` is Unix ms; see AuditEntry for the rest."""
    async with db.transaction():
        if db.dialect == "postgresql":  # SQLite's BEGIN IMMEDIATE is such a lock already
            await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        newest = await latest(db, 1)
        prev = (newest[0].hash or "") if newest else ""
        hash_ = link(key, prev, at=at, actor=actor, action=action, subject=subject, detail=detail)
        await db.execute(
            "INSERT INTO audit (at, actor, action, subject, detail, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            *(at, actor, action, subject, detail, prev, hash_),
        )


async def latest(db: Database, limit: int, *, before: int | None = None) -> list[AuditEntry]:
    """The newest entries, newest first; `before`: of those in front of this one."""
    below = before if before is not None else 2**62
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2", below, limit)
    return [AuditEntry(**row) for row in rows]


async def find(db: Database, wanted: Wanted, limit: int, *, before: int) -> list[AuditEntry]:
    """The newest entries that somebody looks for, newest first, of those in front of `before`."""
    conditions = ["seq < $1", "at >= $2", "at < $3"]
    values: list[Any] = [before, wanted.since, wanted.until]
    if wanted.actor is None:
        conditions.append("actor IS NULL")
    elif wanted.actor:
        values.append(wanted.actor)
        conditions.append(f"actor = ${len(values)}")
    if wanted.words:
        literal = _LITERAL.sub(rf"{_ESCAPE}\g<0>", wanted.words.lower())
        values.append(f"%{literal}%")
        said = "lower(action || ' ' || subject || ' ' || detail)"
        conditions.append(f"{said} LIKE ${len(values)} ESCAPE '{_ESCAPE}'")
    where = " AND ".join(conditions)
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM audit WHERE {where} ORDER BY seq DESC LIMIT {limit:d}", *values)
    return [AuditEntry(**row) for row in rows]


async def after(db: Database, seq: int, limit: int) -> list[AuditEntry]:
    """Entries behind `seq`, oldest first."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2", seq, limit)
    return [AuditEntry(**row) for row in rows]
