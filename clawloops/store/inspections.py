"""Rows of inspections: only ever added to and ended."""

from __future__ import annotations

from clawloops.model.inspection import Ending, Inspection
from clawloops.store.db import Database, Row

_SELECT = """SELECT i.id, i.admin, i.runtime_id, r.owner, r.slug, i.session, i.reason, i.opened_at, i.until_at,
    i.first_at, i.last_at, i.ended_at, i.ending, i.ended_by
    FROM inspections i JOIN runtimes r ON r.id = i.runtime_id"""


def _inspection(row: Row) -> Inspection:
    return Inspection(**{**row, "ending": Ending(row["ending"]) if row["ending"] else None})


async def add(db: Database, each: Inspection) -> None:
    """Keep one that is open. Raises Conflict when its admin has one of this workspace already, or either is no more."""
    await db.execute(
        """INSERT INTO inspections (id, admin, runtime_id, session, reason, opened_at, until_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        *(each.id, each.admin, each.runtime_id, each.session, each.reason, each.opened_at, each.until_at),
    )


async def note_use(db: Database, inspection_id: str, first_at: int, last_at: int) -> None:
    """Write its first and last use down (Unix ms)."""
    await db.execute(
        "UPDATE inspections SET first_at = $1, last_at = $2 WHERE id = $3", first_at, last_at, inspection_id
    )


async def end(db: Database, inspection_id: str, *, at: int, ending: Ending, by: str | None) -> bool:
    """End one at an instant (Unix ms). False: somebody else has ended it before, and nothing was changed."""
    changed = await db.execute(
        "UPDATE inspections SET ended_at = $1, ending = $2, ended_by = $3 WHERE id = $4 AND ended_at IS NULL",
        *(at, ending.value, by, inspection_id),
    )
    return changed == 1


async def all_open(db: Database) -> list[Inspection]:
    """Oldest first."""
    rows = await db.fetch(f"{_SELECT} WHERE i.ended_at IS NULL ORDER BY i.opened_at, i.id")
    return [_inspection(row) for row in rows]


async def of(db: Database, runtime_id: str, *, limit: int) -> list[Inspection]:
    """Those of a workspace, newest first."""
    rows = await db.fetch(
        f"{_SELECT} WHERE i.runtime_id = $1 ORDER BY i.opened_at DESC, i.id DESC LIMIT $2", runtime_id, limit
    )
    return [_inspection(row) for row in rows]
