"""Rows of what decoy keys were used for, until an admin has taken note of it."""

from __future__ import annotations

from collections.abc import Sequence

from clawloops.model.decoy import Place, Use
from clawloops.store.db import Database

_COLUMNS = "runtime_id, place, origin, count, first_at, last_at, has_stopped"


async def all(db: Database) -> list[Use]:
    """Oldest first; of those within one millisecond, what came from others than those named last, as it did."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM decoy_uses ORDER BY first_at, runtime_id, place, origin = '', origin"
    )
    return [Use(**{**row, "place": Place(row["place"]), "has_stopped": bool(row["has_stopped"])}) for row in rows]


async def put(db: Database, uses: Sequence[Use]) -> None:
    """Write each in place of what was known of it, all of them or none."""
    async with db.transaction():
        for use in uses:
            await db.execute(
                f"""INSERT INTO decoy_uses ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (runtime_id, place, origin) DO UPDATE SET count = excluded.count,
                    first_at = excluded.first_at, last_at = excluded.last_at, has_stopped = excluded.has_stopped""",
                *(use.runtime_id, use.place.value, use.origin, use.count, use.first_at, use.last_at, use.has_stopped),
            )


async def delete(db: Database, runtime_id: str) -> None:
    """All of one runtime's."""
    await db.execute("DELETE FROM decoy_uses WHERE runtime_id = $1", runtime_id)
