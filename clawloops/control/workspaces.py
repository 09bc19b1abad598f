"""A member's files: snapshots, trash, one-file exports and copies. Asked for here, done by the runtime's keeper.

Only the member decides over their files (and whoever has a shell on the box); an admin sees how much there is. Nothing
is deleted at once: what was replaced lies in the trash for TRASH_DAYS, and `purge` is the only way out of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.runtimes import CONSOLE, Runtimes
from clawloops.control.uploads import received
from clawloops.errors import BadInput, ClawLoopsError, Conflict, EngineRefused, Forbidden, Gone, NotFound, Unavailable
from clawloops.model.account import User
from clawloops.model.runtime import Runtime
from clawloops.model.workspace import EXPORT_HOURS, MOST_SNAPSHOTS, TRASH_DAYS, Job, JobState, Kind, Task, Volume
from clawloops.runtimes import carriers, parcel, reaper
from clawloops.runtimes.client import Engine
from clawloops.store import jobs, runtimes, users, volumes
from clawloops.store.db import Database

_log = logging.getLogger(__name__)

MOST_WAITING = 5  # jobs of one workspace
PURGE_EVERY_S = 3600
MOST_UPLOAD = 16 * 1024**3
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_NOTE_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Shelf:
    """All that there is of one workspace, newest first."""

    live: Volume | None  # None before the first start
    snapshots: tuple[Volume, ...]
    trash: tuple[tuple[Volume, int], ...]  # each with the days that are left
    jobs: tuple[Job, ...]


class Workspaces:
    def __init__(
        self,
        db: Database,
        audit: Audit,
        runtimes_: Runtimes,
        engine: Engine,
        *,
        install_id: str,
        data: str,
        wake: Callable[[str], None],
    ) -> None:
        self._db = db
        self._audit = audit
        self._runtimes = runtimes_
        self._engine = engine
        self._install_id = install_id
        self._data = data
        self._wake = wake
        self._receiving: set[str] = set()  # runtimes whose member sends a file now

    async def shelf(self, runtime_id: str, *, by: User) -> Shelf:
        """What there is. An admin may see that of everybody's; NotFound otherwise."""
        await self._runtimes.get(runtime_id, by=by)
        now, all_ = now_ms(), await volumes.of(self._db, runtime_id)
        trash = ((each, _days_left(each, now)) for each in all_ if each.kind is Kind.TRASH)
        return Shelf(
            next((each for each in all_ if each.kind is Kind.LIVE), None),
            tuple(each for each in all_ if each.kind is Kind.SNAPSHOT),
            tuple(sorted(trash, key=lambda each: -each[0].ended_at)),
            tuple(await jobs.of(self._db, runtime_id)),
        )

    async def snapshot(self, runtime_id: str, note: str = "", *, by: User) -> Job:
        """A copy as it is now; it is paused for as long as that takes. Conflict when there are too many already."""
        runtime = await self._own(runtime_id, by)
        _started(runtime)
        await self._room_for_one(runtime.id, "this workspace")
        note = " ".join(note.split())[:_NOTE_LENGTH] or "Snapshot"
        return await self._ask(runtime, Task.SNAPSHOT, note, by=by)

    async def restore(self, runtime_id: str, number: int, *, by: User) -> Job:
        """Make a snapshot, or one from the trash, the workspace again. What is live now goes to the trash."""
        runtime = await self._own(runtime_id, by)
        row = await self._volume(runtime.id, number, Kind.SNAPSHOT, Kind.TRASH)
        return await self._ask(runtime, Task.RESTORE, str(row.number), by=by, said=row.note)

    async def reset(self, runtime_id: str, *, by: User) -> Job:
        """Delete the files: an empty workspace; what is live now goes to the trash."""
        runtime = await self._own(runtime_id, by)
        _started(runtime)
        return await self._ask(runtime, Task.RESET, by=by)

    async def put_away(self, runtime_id: str, number: int, *, by: User) -> None:
        """Put a snapshot into the trash."""
        runtime = await self._own(runtime_id, by)
        row = await self._volume(runtime.id, number, Kind.SNAPSHOT)
        if await volumes.put_away(self._db, runtime.id, row.number, now=now_ms()):
            await self._audit.record(by.id or None, "snapshot put into the trash", runtime.slug, row.note)

    async def export(self, runtime_id: str, *, by: User) -> Job:
        """Pack it into one file, without anything that acts as its member; see `exported`."""
        runtime = await self._own(runtime_id, by)
        _started(runtime)
        return await self._ask(runtime, Task.EXPORT, by=by)

    async def exported(self, job_id: str, *, by: User) -> Path:
        """The file of an export that is done. Gone after EXPORT_HOURS."""
        job, _ = await self._job(job_id, by)
        if job.task is not Task.EXPORT or job.state is not JobState.DONE:
            raise NotFound("There is no such file. It is there once the export is done.")
        path = parcel.path(self._data, job.id)
        if now_ms() - job.ended_at > EXPORT_HOURS * _HOUR_MS or not await asyncio.to_thread(path.is_file):
            raise Gone(f"The file was kept for {EXPORT_HOURS} hours. Export the workspace again.")
        return path

    async def import_file(self, runtime_id: str, chunks: AsyncIterator[bytes], *, by: User) -> Job:
        """Take a file that `export` made, from anywhere. What is live now goes to the trash. BadInput: not one."""
        runtime = await self._own(runtime_id, by)
        await self._few_waiting(runtime.id)
        if runtime.id in self._receiving:
            raise Conflict("A file for this workspace is on its way already. Wait until it is here.")
        job_id = "j" + secrets.token_hex(8)
        path = parcel.path(self._data, job_id)
        self._receiving.add(runtime.id)
        try:
            await received(path, chunks, most=MOST_UPLOAD)
            await asyncio.to_thread(parcel.manifest, path)
            return await self._ask(runtime, Task.IMPORT, by=by, job_id=job_id)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise Unavailable(f"The file could not be stored ({error.strerror}). Free some space first.") from error
            raise
        finally:
            self._receiving.discard(runtime.id)

    async def clone(self, runtime_id: str, number: int, to: str, *, by: User) -> Job:
        """Give a copy of a snapshot to another member (`to`: their login), without anything that acts as its owner.

        It is the workspace of a member who has none yet; anybody else finds it among their snapshots, and decides.
        """
        runtime = await self._own(runtime_id, by)
        row = await self._volume(runtime.id, number, Kind.SNAPSHOT)
        member = await users.by_login(self._db, to.strip().lower())
        if member is None or not member.may_work:
            raise BadInput(f"There is no member {to[:80]!r} to give it to.", field="to")
        target = await self._runtimes.made_for(member)
        if target.id == runtime.id:
            raise BadInput("That is your own workspace; restore the snapshot instead.", field="to")
        await self._room_for_one(target.id, f"{member.name}'s workspace")
        job = await self._ask(target, Task.CLONE, f"{runtime.id} {row.number}", by=by, said=row.note)
        await self._audit.record(by.id or None, "snapshot given", runtime.slug, f"to {target.slug}")
        return job

    async def cancel(self, job_id: str, *, by: User) -> None:
        """Take back what has not begun. Conflict when it has."""
        job, runtime = await self._job(job_id, by)
        if not await jobs.cancel(self._db, job.id, now=now_ms()):
            raise Conflict("It has begun already. Let it end; what it replaces is in the trash then.")
        await asyncio.to_thread(parcel.path(self._data, job.id).unlink, missing_ok=True)
        await self._audit.record(by.id or None, f"{job.task} cancelled", runtime.slug)
        self._wake(runtime.id)

    async def run(self) -> None:
        """Purge now and once an hour, for ever."""
        while True:
            try:
                await self.purge()
            except ClawLoopsError as error:
                _log.warning("the trash is emptied later: %s", error)
            except Exception:  # noqa: BLE001  # a purge that ends for ever is missed by nobody until the disk is full
                _log.exception("the trash is emptied later")
            await asyncio.sleep(PURGE_EVERY_S)

    async def purge(self) -> int:
        """Remove what was in the trash for long enough, leftovers of cut copies, and old files.

        Returns how many volumes. One that Docker does not let go is tried again the next time.
        """
        now = now_ms()
        due = [
            *await volumes.ended_before(self._db, Kind.TRASH, now - TRASH_DAYS * _DAY_MS),
            *await volumes.ended_before(self._db, Kind.FILLING, now - _DAY_MS),
        ]
        await carriers.sweep(self._engine, self._install_id)
        removed = [each for each in due if await self._removed(each)]
        waiting = {job.id for job in await jobs.open_(self._db)}
        await asyncio.to_thread(_sweep_files, Path(self._data) / "parcels", waiting)
        return len(removed)

    async def _removed(self, volume: Volume) -> bool:
        runtime = await runtimes.get(self._db, volume.runtime_id)
        if runtime is None or _needed(runtime, volume.number) or not await volumes.condemn(self._db, volume):
            return False  # it was taken out of the trash just now
        try:
            await reaper.remove(self._engine, self._install_id, volume.runtime_id, volume.number)
        except EngineRefused as error:
            _log.warning("volume %s of %s stays for now: %s", volume.number, volume.runtime_id, error)
            return False
        await volumes.forget(self._db, volume.runtime_id, volume.number)
        await self._audit.record(None, "volume removed", runtime.slug, volume.note)
        return True

    async def _ask(
        self, runtime: Runtime, task: Task, argument: str = "", *, by: User, said: str = "", job_id: str = ""
    ) -> Job:
        await self._few_waiting(runtime.id)
        job = Job(
            job_id or "j" + secrets.token_hex(8),
            runtime.id,
            task,
            argument,
            JobState.PENDING,
            "",
            by.id or None,
            now_ms(),
            0,
        )
        await jobs.add(self._db, job)
        await self._audit.record(by.id or None, f"workspace {task}", runtime.slug, said or argument)
        self._wake(runtime.id)
        return job

    async def _few_waiting(self, runtime_id: str) -> None:
        waiting = [each for each in await jobs.open_(self._db) if each.runtime_id == runtime_id]
        if len(waiting) >= MOST_WAITING:
            raise Conflict(f"{len(waiting)} things are waiting to be done on this workspace. Wait, or cancel one.")

    async def _room_for_one(self, runtime_id: str, whose: str) -> None:
        kept = [each for each in await volumes.of(self._db, runtime_id) if each.kind is Kind.SNAPSHOT]
        if len(kept) >= MOST_SNAPSHOTS:
            raise Conflict(f"There are {len(kept)} snapshots of {whose} already. Delete one first.")

    async def _own(self, runtime_id: str, by: User) -> Runtime:
        runtime = await self._runtimes.get(runtime_id, by=by)
        if runtime.owner != by.id and by is not CONSOLE:
            raise Forbidden("Only its member decides over these files.")
        return runtime

    async def _job(self, job_id: str, by: User) -> tuple[Job, Runtime]:
        job = await jobs.get(self._db, job_id)
        if job is None:
            raise NotFound("There is no such job.")
        return job, await self._own(job.runtime_id, by)

    async def _volume(self, runtime_id: str, number: int, *kinds: Kind) -> Volume:
        row = await volumes.get(self._db, runtime_id, number)
        if row is None or row.kind not in kinds:
            raise NotFound("That snapshot is not there any more. Reload the page.")
        return row


def _started(runtime: Runtime) -> None:
    if not runtime.volume_at:
        raise Conflict("This workspace was never started, so there are no files yet.")


def _days_left(volume: Volume, now: int) -> int:
    """Whole days, the last one counted: never 0 while it is there."""
    return max(1, -(-(volume.ended_at + TRASH_DAYS * _DAY_MS - now) // _DAY_MS))


def _needed(runtime: Runtime, number: int) -> bool:
    """Whether it is live, or what an upgrade on trial would go back to."""
    return number == runtime.volume or (runtime.before_image != "" and number == runtime.before_volume)


def _sweep_files(folder: Path, waiting: set[str]) -> None:
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
            old = time.time() - path.stat().st_mtime > EXPORT_HOURS * 3600
            if old and path.name.partition(".")[0] not in waiting:
                path.unlink()
