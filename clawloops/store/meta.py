"""Single values by key: the seal's sentinel, and how far each usage journal was read."""

from __future__ import annotations

from clawloops.store.db import Database


async def get(db: Database, key: str) -> str | None:
    row = await db.fetchrow("SELECT value FROM meta WHERE key = $1", key)
    return str(row["value"]) if row else None


async def put(db: Database, key: str, value: str) -> None:
    """Set or replace."""
    await db.execute(
        "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key,
        value,
    )
