"""Single values by key: the seal's sentinel, how far each usage journal was read, what admins have decided."""

from __future__ import annotations

from collections.abc import Sequence

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


async def put_first(db: Database, key: str, value: str) -> bool:
    """Set it where nothing is set. Returns whether that was so."""
    rows = await db.fetch(
        "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING key", key, value
    )
    return bool(rows)


async def which(db: Database, keys: Sequence[str]) -> frozenset[str]:
    """Those of these keys (at least one) that are set."""
    places = ", ".join(f"${number}" for number in range(1, len(keys) + 1))
    return frozenset(row["key"] for row in await db.fetch(f"SELECT key FROM meta WHERE key IN ({places})", *keys))
