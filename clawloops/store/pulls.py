"""Rows of the pulls of models: under way, and what became of the latest ones."""

from __future__ import annotations

from clawloops.model.library import Pull, PullState
from clawloops.store.db import Database, Row

_COLUMNS = "id, backend_id, model, is_offered, state, note, actor, created_at, ended_at"
KEPT = 10  # ended ones of a backend


def _pull(row: Row) -> Pull:
    return Pull(**{**row, "state": PullState(row["state"]), "is_offered": bool(row["is_offered"])})


async def add(db: Database, pull: Pull) -> None:
    """Raises Conflict when the backend is gone. The oldest ended ones are forgotten."""
    async with db.transaction():
        await db.execute(
            f"INSERT INTO pulls ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            *(pull.id, pull.backend_id, pull.model, pull.is_offered, pull.state.value, pull.note, pull.actor),
            *(pull.created_at, pull.ended_at),
        )
        await db.execute(
            """DELETE FROM pulls WHERE backend_id = $1 AND ended_at > 0 AND id NOT IN (SELECT id FROM pulls
            WHERE backend_id = $1 AND ended_at > 0 ORDER BY ended_at DESC, id LIMIT $2)""",
            *(pull.backend_id, KEPT),
        )


async def running(db: Database) -> list[Pull]:
    """Of all backends, oldest first."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM pulls WHERE ended_at = 0 ORDER BY created_at, id")
    return [_pull(row) for row in rows]


async def of(db: Database, backend_id: str) -> list[Pull]:
    """Newest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM pulls WHERE backend_id = $1 ORDER BY created_at DESC, id", backend_id
    )
    return [_pull(row) for row in rows]


async def end(db: Database, pull_id: str, state: PullState, note: str, at: int) -> None:
    """`at` is Unix ms. Nothing happens to one that has ended."""
    query = "UPDATE pulls SET state = $1, note = $2, ended_at = $3 WHERE id = $4 AND ended_at = 0"
    await db.execute(query, state.value, note, at, pull_id)
