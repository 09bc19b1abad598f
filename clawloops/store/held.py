"""Rows of runtimes whose background calls are held."""

from __future__ import annotations

from clawloops.store.db import Database


async def put(db: Database, runtime_id: str, why: str, at: int) -> None:
    """`at` is Unix ms. Raises Conflict when there is no such runtime."""
    await db.execute(
        """INSERT INTO held_runtimes (runtime_id, why, at) VALUES ($1, $2, $3)
        ON CONFLICT (runtime_id) DO UPDATE SET why = excluded.why, at = excluded.at""",
        *(runtime_id, why, at),
    )


async def all(db: Database) -> dict[str, str]:
    """Why, by runtime id."""
    return {row["runtime_id"]: row["why"] for row in await db.fetch("SELECT runtime_id, why FROM held_runtimes")}


async def delete(db: Database, runtime_id: str) -> None:
    """Nothing happens when it is not held."""
    await db.execute("DELETE FROM held_runtimes WHERE runtime_id = $1", runtime_id)
