"""Puts a backup back in place of the SQLite store, while no control plane runs. What was in use becomes a backup."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clawloops import ground
from clawloops.clock import now_ms
from clawloops.config import Settings
from clawloops.control.audit import Audit
from clawloops.control.ledger import LOG
from clawloops.durable import put_in_place
from clawloops.errors import NotFound, SetupError
from clawloops.model.backup import Reason, name_of
from clawloops.runtimes import volumes
from clawloops.runtimes.client import Engine
from clawloops.store import backups, usage
from clawloops.store import runtimes as rows
from clawloops.store.migrate import migrate
from clawloops.store.own_keys import audit_key
from clawloops.store.seal import check_sentinel
from clawloops.store.sqlite import open_sqlite

_BESIDE = ("-wal", "-shm")  # what belongs to a SQLite file that is in use (https://sqlite.org/wal.html)


@dataclass(frozen=True, slots=True)
class Restored:
    name: str
    kept: str  # the name of the backup that was in use until now; "" when there was none
    found: tuple[tuple[str, int], ...]  # slug and number of each workspace volume that became a snapshot


async def restore(settings: Settings, name: str) -> Restored:
    """Raises NotFound, SetupError, SealBroken, EngineUnavailable; then the store in use is as it was."""
    path = _path_of(settings)
    folder = settings.data / "backups"
    if name not in {each.name for each in await backups.every(folder)}:
        raise NotFound(f"there is no backup {name!r}; clawloops backup list shows them")
    async with ground.nobody_else(settings):
        present = await _present(settings)
        fresh = path.with_name(path.name + ".restoring")
        try:
            found = await _prepare(settings, folder / name, fresh, present)
            kept = await _in_place(fresh, path, folder)
        except OSError as error:
            raise SetupError(
                f"{name} cannot be put back ({error}); check the disk and its owner: nothing was changed"
            ) from error
        finally:
            await asyncio.to_thread(_clear, fresh, ("", *_BESIDE))
    return Restored(name, kept, tuple(found))


def _path_of(settings: Settings) -> Path:
    scheme, _, rest = settings.database_url.partition("://")
    if scheme != "sqlite":
        raise SetupError("this box keeps its data in PostgreSQL: put it back with psql (docs/operations.md, Back up)")
    return Path(rest.removeprefix("/"))


async def _present(settings: Settings) -> set[tuple[str, int]]:
    engine = Engine(settings.engine)
    try:
        return await volumes.every(engine, settings.install_id)
    finally:
        engine.close()


async def _prepare(
    settings: Settings, chosen: Path, fresh: Path, present: set[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Make a copy of it ready to be used: the backup itself stays as it is."""
    sealer = ground.load_seal(settings)
    await asyncio.to_thread(_copy, chosen, fresh)
    db = await open_sqlite(fresh)
    try:
        if not await db.is_whole():
            raise SetupError(f"{chosen.name} is damaged; choose another one: clawloops backup list")
        await migrate(db, backup_dir=None)
        await check_sentinel(db, sealer)
        found = await backups.settle(db, present, image=settings.openclaw_image, now=now_ms())
        # From its beginning: a call that is in counts once, and the journal may have begun anew since then.
        await usage.settle(db, [], log=LOG, offset=0)
        await Audit(db, await audit_key(db, sealer)).record(None, "backup put back", chosen.name)
        slugs = {each.id: each.slug for each in await rows.all(db)}
    finally:
        await db.close()
    return [(slugs[runtime_id], number) for runtime_id, number in found]


def _copy(chosen: Path, fresh: Path) -> None:
    os.close(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    shutil.copyfile(chosen, fresh)


def _clear(path: Path, which: Sequence[str]) -> None:
    for each in which:
        Path(f"{path}{each}").unlink(missing_ok=True)


async def _in_place(fresh: Path, path: Path, folder: Path) -> str:
    """By one rename: at no time is there no store. Returns the name under which the one of before is kept."""
    kept = None
    if await asyncio.to_thread(path.exists):
        kept = await asyncio.to_thread(_keep, path, folder)
        with contextlib.suppress(SetupError):  # what cannot be opened is kept as it lies there, with its log
            await (await open_sqlite(path)).close()
            await asyncio.to_thread(_clear, kept, _BESIDE)  # its log is in it now
        await asyncio.to_thread(_clear, path, _BESIDE)  # a log of the old store would be taken for one of the new
    await asyncio.to_thread(put_in_place, fresh, path)
    return kept.name if kept else ""


def _keep(path: Path, folder: Path) -> Path:
    now = now_ms()
    while (kept := folder / name_of(path.stem, Reason.RESTORE, now)).exists():
        now += 1000  # a name is good for a second
    for each in ("", *_BESIDE):
        with contextlib.suppress(FileNotFoundError):
            os.link(f"{path}{each}", f"{kept}{each}")
    return kept
