"""The history of runtimes: only ever added to, and swept by age."""

from __future__ import annotations

from clawloops.model.workspace import Happening
from clawloops.store.db import Database

_COLUMNS = "id, runtime_id, at, kind, text, took_ms, actor"


async def add(
    db: Database,
    runtime_id: str,
    *,
    at: int,
    kind: str,
    text: str,
    took_ms: int | None = None,
    actor: str | None = None,
) -> None:
    await db.execute(
        "INSERT INTO runtime_events (runtime_id, at, kind, text, took_ms, actor) VALUES ($1, $2, $3, $4, $5, $6)",
        runtime_id,
        at,
        kind,
        text,
        took_ms,
        actor,
    )


async def of(db: Database, runtime_id: str, *, limit: int = 50, before: int | None = None) -> list[Happening]:
    """The latest of a runtime, newest first; `before`: only those with a lower id, for the next page."""
    rows = await db.fetch(
        f"""SELECT {_COLUMNS} FROM runtime_events WHERE runtime_id = $1 AND id < $2
        ORDER BY id DESC LIMIT $3""",
        runtime_id,
        before if before is not None else 2**62,
        limit,
    )
    return [Happening(**row) for row in rows]


async def sweep(db: Database, before: int) -> int:
    """Remove those older than this instant, Unix ms. Returns how many."""
    return await db.execute("DELETE FROM runtime_events WHERE at < $1", before)
