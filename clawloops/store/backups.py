"""Copies of a SQLite store in its folder. PostgreSQL has tools of its own for that (docs/operations.md)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from clawloops.errors import SetupError
from clawloops.model import backup
from clawloops.model.backup import Backup, Reason
from clawloops.store import runtimes as rows
from clawloops.store import volumes
from clawloops.store.db import Database
from clawloops.store.sqlite import Sqlite


async def make(db: Database, folder: Path, reason: Reason, *, now: int, schema: int = 0) -> Backup | None:
    """A consistent copy, mode 0600, while the store is in use; None on PostgreSQL. Raises SetupError.

    `now`: Unix ms. `schema`: of the store, where the reason is an upgrade.
    """
    if not isinstance(db, Sqlite):
        return None
    try:
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the backup folder {folder} cannot be made ({error.strerror}); check its owner") from error
    target = folder / backup.name_of(db.path.stem, reason, now, schema=schema)
    await db.back_up(target)
    return backup.read(target.name, await asyncio.to_thread(lambda: target.stat().st_size))


async def every(folder: Path) -> list[Backup]:
    """Newest first. Raises OSError."""
    return await asyncio.to_thread(_every, folder)


async def settle(db: Database, present: set[tuple[str, int]], *, image: str, now: int) -> list[tuple[str, int]]:
    """Let a store that was just put back know that time went on: nothing of a member's is lost by what it believes.

    `present`: runtime id and number of every workspace volume that Docker has. Those that it knows of no more become
    snapshots, and are returned; one that was being filled then, and is there, too. What was in the trash stays
    there for the usual days from now on, `now` being Unix ms. `image`: for a workspace that was never started in it.
    Work that was under way is at its end, and so is every session: who was shut out since then would come in again.
    """
    async with db.transaction():
        await db.execute("DELETE FROM sessions")
        await db.execute(
            "UPDATE jobs SET state = 'failed', note = $1, ended_at = $2 WHERE state IN ('pending', 'running')",
            "a backup of the box was put back meanwhile",
            now,
        )
        await db.execute("UPDATE runtimes SET before_image = '', before_volume = 0")
        await db.execute("UPDATE volumes SET ended_at = $1 WHERE kind = 'trash'", now)
        filled = [each for each in await _filling(db) if each in present]
        for runtime_id, number in filled:
            await volumes.keep_as_snapshot(db, runtime_id, number, size=0)
        known, runtimes = await volumes.numbers(db), {each.id: each for each in await rows.all(db)}
        found = sorted(each for each in present - known if each[0] in runtimes)
        for runtime_id, number in found:
            runtime = runtimes[runtime_id]
            if number == runtime.volume:
                await volumes.used(db, runtime, image=runtime.image or image, now=now)
            else:
                await volumes.adopt(db, runtime_id, number, image=runtime.image or image, now=now)
    return [*filled, *found]


async def _filling(db: Database) -> list[tuple[str, int]]:
    found = await db.fetch("SELECT runtime_id, number FROM volumes WHERE kind = 'filling'")
    return [(row["runtime_id"], row["number"]) for row in found]


async def remove(folder: Path, found: Backup) -> None:
    """Raises OSError; that it is gone already is none."""
    await asyncio.to_thread((folder / found.name).unlink, missing_ok=True)


def _every(folder: Path) -> list[Backup]:
    if not folder.is_dir():
        return []
    found = [backup.read(each.name, each.stat().st_size) for each in folder.iterdir() if each.is_file()]
    return sorted((each for each in found if each is not None), key=lambda each: (-each.made_at, each.name))
