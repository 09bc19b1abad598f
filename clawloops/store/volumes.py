"""Rows of workspace volumes. Filling one and making it live are two commits; swapping is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clawloops.model.runtime import Runtime
from clawloops.model.workspace import Kind, Volume
from clawloops.store import runtimes
from clawloops.store.db import Database, Row

_COLUMNS = "runtime_id, number, kind, note, image, bytes, made_at, ended_at"
_SELECT = f"SELECT {_COLUMNS} FROM volumes"


def _volume(row: Row) -> Volume:
    return Volume(**{**row, "kind": Kind(row["kind"])})


async def of(db: Database, runtime_id: str) -> list[Volume]:
    """All of a runtime's, newest first."""
    rows = await db.fetch(f"{_SELECT} WHERE runtime_id = $1 ORDER BY number DESC", runtime_id)
    return [_volume(row) for row in rows]


async def get(db: Database, runtime_id: str, number: int) -> Volume | None:
    row = await db.fetchrow(f"{_SELECT} WHERE runtime_id = $1 AND number = $2", runtime_id, number)
    return _volume(row) if row else None


async def numbers(db: Database) -> set[tuple[str, int]]:
    """Runtime id and number of every volume that this install knows of."""
    return {(row["runtime_id"], row["number"]) for row in await db.fetch("SELECT runtime_id, number FROM volumes")}


async def images(db: Database) -> set[str]:
    """Every image that a volume of this install was used with last."""
    return {row["image"] for row in await db.fetch("SELECT DISTINCT image FROM volumes")}


async def ended_before(db: Database, kind: Kind, instant: int) -> list[Volume]:
    """Those of a kind that were put there (TRASH) or begun (FILLING) before this instant, Unix ms; oldest first."""
    column = "ended_at" if kind is Kind.TRASH else "made_at"
    rows = await db.fetch(f"{_SELECT} WHERE kind = $1 AND {column} < $2 ORDER BY {column}", kind.value, instant)
    return [_volume(row) for row in rows]


async def begin(db: Database, runtime_id: str, *, note: str, image: str, now: int) -> int:
    """Take a number that no volume of this runtime has, for one that is about to be filled."""
    rows = await db.fetch(
        """INSERT INTO volumes (runtime_id, number, kind, note, image, bytes, made_at, ended_at)
        SELECT $1, 1 + COALESCE(MAX(used), 0), 'filling', $2, $3, 0, $4, 0 FROM (
            SELECT number AS used FROM volumes WHERE runtime_id = $1
            UNION ALL SELECT volume AS used FROM runtimes WHERE id = $1
        ) AS numbers RETURNING number""",
        runtime_id,
        note,
        image,
        now,
    )
    return int(rows[0]["number"])


async def adopt(db: Database, runtime_id: str, number: int, *, image: str, now: int) -> None:
    """Keep one that Docker has and this store knew nothing of, as a snapshot."""
    await db.execute(
        """INSERT INTO volumes (runtime_id, number, kind, note, image, bytes, made_at, ended_at)
        VALUES ($1, $2, 'snapshot', $3, $4, 0, $5, 0)""",
        runtime_id,
        number,
        "Found when a backup of the box was put back",
        image,
        now,
    )


async def keep_as_snapshot(db: Database, runtime_id: str, number: int, *, size: int) -> None:
    """A copy has ended well."""
    await db.execute(
        "UPDATE volumes SET kind = 'snapshot', bytes = $1 WHERE runtime_id = $2 AND number = $3 AND kind = 'filling'",
        size,
        runtime_id,
        number,
    )


async def swap(db: Database, runtime: Runtime, number: int, *, now: int, note: str, **changes: Any) -> Runtime:
    """Make `number` the live one and put the one that was live into the trash, with `note`; all or nothing.

    `changes`: fields of the runtime that change with it. Raises Conflict when the row was changed since it was read.
    """
    async with db.transaction():
        await db.execute(
            """UPDATE volumes SET kind = 'trash', ended_at = $1, note = $2,
            image = CASE WHEN image = '' THEN $4 ELSE image END WHERE runtime_id = $3 AND kind = 'live'""",
            now,
            note,
            runtime.id,
            runtime.image,
        )
        await db.execute(
            "UPDATE volumes SET kind = 'live', ended_at = 0 WHERE runtime_id = $1 AND number = $2", runtime.id, number
        )
        return await runtimes.put(db, replace(runtime, volume=number, volume_at=now, **changes))


async def used(db: Database, runtime: Runtime, *, image: str, now: int) -> Runtime:
    """Note that the live volume is about to be used for the first time: from now on it must be there."""
    async with db.transaction():
        await db.execute(
            """INSERT INTO volumes (runtime_id, number, kind, note, image, bytes, made_at, ended_at)
            VALUES ($1, $2, 'live', 'workspace', $3, 0, $4, 0)
            ON CONFLICT (runtime_id, number) DO NOTHING""",
            runtime.id,
            runtime.volume,
            image,
            now,
        )
        return await runtimes.put(db, replace(runtime, volume_at=now, image=runtime.image or image))


async def put_away(db: Database, runtime_id: str, number: int, *, now: int) -> bool:
    """Put a snapshot into the trash. False when it is none any more."""
    changed = await db.execute(
        """UPDATE volumes SET kind = 'trash', ended_at = $1
        WHERE runtime_id = $2 AND number = $3 AND kind = 'snapshot'""",
        now,
        runtime_id,
        number,
    )
    return changed > 0


async def condemn(db: Database, volume: Volume) -> bool:
    """Take it out of everybody's reach before its Docker volume is removed. False when it changed since it was read.

    A crash after this leaves a "filling" one, which is begun to be removed again.
    """
    changed = await db.execute(
        """UPDATE volumes SET kind = 'filling' WHERE runtime_id = $1 AND number = $2 AND kind = $3 AND ended_at = $4""",
        volume.runtime_id,
        volume.number,
        volume.kind.value,
        volume.ended_at,
    )
    return changed > 0


async def forget(db: Database, runtime_id: str, number: int) -> None:
    """The Docker volume is no more."""
    await db.execute("DELETE FROM volumes WHERE runtime_id = $1 AND number = $2 AND kind <> 'live'", runtime_id, number)
