"""The work on a workspace that moves files: a new volume is filled, and only a whole one is ever used.

Nothing is written over and nothing is deleted here. Whatever is cut leaves a volume of kind "filling", which nobody
uses and the purge removes; a job that is begun again takes a fresh number.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError, Conflict, EngineUnavailable, NotFound, Unavailable
from clawloops.model.runtime import Runtime
from clawloops.model.workspace import EXPORT_HOURS, MOST_SNAPSHOTS, Job, JobState, Kind, Task, Volume
from clawloops.orchestrator.execute import Hands
from clawloops.runtimes import parcel, volumes
from clawloops.runtimes.archive import Archive, Slot
from clawloops.runtimes.belongings import may_leave
from clawloops.store import events
from clawloops.store import jobs as job_rows
from clawloops.store import runtimes as runtime_rows
from clawloops.store import volumes as rows

RESERVE = 1024**3  # bytes that a copy leaves free on the disk
TRIES = 3  # copies of one job that may be cut before it is given up
WRITES = 5  # tries to write down what a copy came to, before it is made again
_MOST_UNPACKED = 64 * 1024**3
_LOOK_EVERY = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to, not yet written down."""

    text: str  # for a person
    number: int | None = None  # the volume that was filled or found
    live: bool = False  # it becomes the workspace; otherwise a snapshot
    size: int = 0
    trash_note: str = ""  # what the one that was live is called in the trash
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the runtime, with the swap


async def perform(hands: Hands, job: Job, desired: Runtime) -> None:
    """Do the job to its end, good or bad, and write down what came of it.

    Raises Unavailable when the Docker Engine or the database went away: it is then begun again.
    """
    began = now_ms()
    await job_rows.note(hands.db, job.id, JobState.RUNNING, "It has begun.", now=began)
    try:
        outcome = await _work(hands, job, desired)
    except EngineUnavailable:
        raise
    except (ClawLoopsError, OSError) as error:
        async with hands.db.transaction():
            await _ended(hands, job, JobState.FAILED, str(error), began)
    else:
        await _written(hands, job, outcome, began)
    if job.task is Task.IMPORT:
        await asyncio.to_thread(parcel.path(hands.install.data, job.id).unlink, missing_ok=True)


async def _written(hands: Hands, job: Job, outcome: Outcome, began: int) -> None:
    """All or nothing: the volume's new kind, the swap, and the end of the job."""
    for attempt in range(WRITES):
        try:
            async with hands.db.transaction():
                if outcome.number is not None and outcome.live:
                    await _swapped(hands, job.runtime_id, outcome)
                elif outcome.number is not None:
                    await rows.keep_as_snapshot(hands.db, job.runtime_id, outcome.number, size=outcome.size)
                await _ended(hands, job, JobState.DONE, outcome.text, began)
        except Conflict:  # a click changed the row at this very moment
            if attempt == WRITES - 1:
                raise
        else:
            return


async def _swapped(hands: Hands, runtime_id: str, outcome: Outcome) -> None:
    # Read again: while the files were copied, somebody may have changed their wish, and both count.
    now, row = await runtime_rows.get(hands.db, runtime_id), await rows.get(hands.db, runtime_id, outcome.number or 0)
    if now is None or row is None or row.kind not in (Kind.FILLING, Kind.TRASH):
        raise Conflict("The workspace was changed meanwhile. Try again.")
    await rows.swap(hands.db, now, row.number, now=now_ms(), note=outcome.trash_note, **outcome.changes)


async def _ended(hands: Hands, job: Job, state: JobState, text: str, began: int) -> None:
    now = now_ms()
    await job_rows.note(hands.db, job.id, state, text, now=now)
    await events.add(
        hands.db, job.runtime_id, at=now, kind=job.task.value, text=text, took_ms=now - began, actor=job.actor
    )


async def _work(hands: Hands, job: Job, desired: Runtime) -> Outcome:
    match job.task:
        case Task.SNAPSHOT:
            return await _snapshot(hands, job, desired)
        case Task.RESTORE:
            return await _restore(hands, job, desired)
        case Task.RESET:
            return await _reset(hands, job, desired)
        case Task.EXPORT:
            return await _export(hands, job, desired)
        case Task.IMPORT:
            return await _import(hands, job, desired)
        case Task.CLONE:
            return await _clone(hands, job, desired)
        case Task.RESTART | Task.UPGRADE:
            raise NotImplementedError(job.task)


async def fill(
    hands: Hands, job: Job, source: Slot, desired: Runtime, *, note: str, image: str, through: str = ""
) -> tuple[int, int]:
    """A whole copy of `source` in a new volume of `desired`: its number and its size in bytes.

    `through`: an image that is on this host, where its own may not be. Raises Unavailable when there is no room. The
    number is of kind "filling" until somebody says what it becomes.
    """
    archive = _archive(hands, desired, through)
    await _room(hands, await archive.measure(source))
    number = await _begin(hands, job, desired, note=note, image=image)
    keep = None if source[0] == desired.id else may_leave
    size = await archive.copy(source, (desired.id, number), keep=keep, watch=_Watch(hands))
    return number, size


async def _snapshot(hands: Hands, job: Job, desired: Runtime) -> Outcome:
    _used(desired)
    await _few_snapshots(hands, desired)
    live = (desired.id, desired.volume)
    number, size = await fill(hands, job, live, desired, note=job.argument or "Snapshot", image=desired.image)
    return Outcome(f"A snapshot was made ({_mib(size)}).", number, size=size)


async def _restore(hands: Hands, job: Job, desired: Runtime) -> Outcome:
    row = await _row(hands, desired.id, job.argument)
    changes = {"image": await _image(hands, row, desired)}
    note = f"Until “{row.note}” was restored"
    text = f"“{row.note}” was restored. What was there before is in the trash."
    if row.kind is Kind.TRASH:
        if not await volumes.exists(hands.engine, hands.install.install_id, desired.id, row.number):
            raise NotFound("That workspace is not on this host any more.")
        return Outcome(text, row.number, live=True, trash_note=note, changes=changes)
    number, size = await fill(hands, job, (desired.id, row.number), desired, note=row.note, image=row.image)
    return Outcome(text, number, live=True, size=size, trash_note=note, changes=changes)


async def _reset(hands: Hands, job: Job, desired: Runtime) -> Outcome:
    number = await _begin(hands, job, desired, note="workspace", image="")
    await volumes.ensure(hands.engine, hands.install.install_id, desired.id, number)
    text = "The workspace is empty. What was there before is in the trash."
    return Outcome(text, number, live=True, trash_note="Until the workspace was emptied", changes={"image": ""})


async def _export(hands: Hands, job: Job, desired: Runtime) -> Outcome:
    _used(desired)
    path = parcel.path(hands.install.data, job.id)
    await asyncio.to_thread(path.parent.mkdir, mode=0o700, exist_ok=True)
    archive, source = _archive(hands, desired), (desired.id, desired.volume)
    await _room(hands, await archive.measure(source) // 2)
    manifest = {"slug": desired.slug, "image": desired.image, "exported_at": now_ms()}
    written = await archive.write_file(source, path, manifest, keep=may_leave, watch=_Watch(hands))
    text = f"The file is ready ({_mib(written.bytes)}). It is kept for {EXPORT_HOURS} hours."
    if written.left_out:
        text = f"{text} {written.left_out} links and pipes that lead out of it were left out."
    return Outcome(text)


async def _import(hands: Hands, job: Job, desired: Runtime) -> Outcome:
    path = parcel.path(hands.install.data, job.id)
    await asyncio.to_thread(parcel.manifest, path)  # before a number is taken
    number = await _begin(hands, job, desired, note="Imported workspace", image="")
    most = min(await _free(hands) - RESERVE, _MOST_UNPACKED)
    target = (desired.id, number)
    size = await _archive(hands, desired).read_file(path, target, keep=may_leave, most_bytes=most, watch=_Watch(hands))
    text = f"The workspace was imported ({_mib(size)}). What was there before is in the trash."
    # The image that the file names is not believed: its state is migrated by the one that runs here.
    return Outcome(text, number, live=True, size=size, trash_note="Until another was imported", changes={"image": ""})


async def _clone(hands: Hands, job: Job, desired: Runtime) -> Outcome:
    """It becomes the workspace of a member who has none yet; anybody else finds it among their snapshots."""
    giver, _, number = job.argument.partition(" ")
    row = await _row(hands, giver, number)
    fresh = not desired.volume_at
    if not fresh:
        await _few_snapshots(hands, desired)
    note = f"{row.note} (a copy)" if giver == desired.id else row.note
    image = await _image(hands, row, desired)
    number_here, size = await fill(hands, job, (giver, row.number), desired, note=note, image=image)
    if fresh:
        return Outcome("A workspace was copied here.", number_here, live=True, size=size, changes={"image": image})
    return Outcome("A copy of a workspace is among the snapshots; restore it to use it.", number_here, size=size)


async def _begin(hands: Hands, job: Job, desired: Runtime, *, note: str, image: str) -> int:
    cut = [
        each
        for each in await rows.of(hands.db, desired.id)
        if each.kind is Kind.FILLING and each.made_at >= job.created_at
    ]
    if len(cut) >= TRIES:
        raise Unavailable(f"The copy was cut off {len(cut)} times. See whether the host runs well, then try again.")
    return await rows.begin(hands.db, desired.id, note=note, image=image, now=now_ms())


async def _row(hands: Hands, runtime_id: str, number: str) -> Volume:
    row = await rows.get(hands.db, runtime_id, int(number)) if number.isdigit() else None
    if row is None or row.kind not in (Kind.SNAPSHOT, Kind.TRASH):
        raise NotFound("That snapshot is not there any more.")
    return row


async def _image(hands: Hands, row: Volume, desired: Runtime) -> str:
    """State goes with the OpenClaw that wrote it, as long as that is on the host; an upgrade then takes both along."""
    there = row.image and await hands.images.look(row.image) is not None
    return row.image if there else desired.image


async def _few_snapshots(hands: Hands, desired: Runtime) -> None:
    kept = [each for each in await rows.of(hands.db, desired.id) if each.kind is Kind.SNAPSHOT]
    if len(kept) >= MOST_SNAPSHOTS:
        raise Conflict(f"There are {len(kept)} snapshots of this workspace already. Delete one first.")


def _used(desired: Runtime) -> None:
    if not desired.volume_at:
        raise Conflict("This workspace was never started, so there is nothing to copy yet.")


def _archive(hands: Hands, desired: Runtime, through: str = "") -> Archive:
    return Archive(hands.engine, hands.install.install_id, through or hands.install.image_of(desired))


async def _room(hands: Hands, need: int) -> None:
    free = await _free(hands)
    if free < need + RESERVE:
        raise Unavailable(
            f"There is not enough room: the copy takes {_mib(need)}, and {_mib(free)} are free, of which "
            f"{_mib(RESERVE)} stay free. Delete snapshots, or ask an administrator to free some space."
        )


async def _free(hands: Hands) -> int:
    return (await asyncio.to_thread(shutil.disk_usage, hands.install.data)).free


class _Watch:
    """Ends a copy while there is still some room: others fill the disk, too."""

    def __init__(self, hands: Hands) -> None:
        self._data = hands.install.data
        self._next = _LOOK_EVERY

    def __call__(self, passed: int) -> None:
        if passed < self._next:
            return
        self._next = passed + _LOOK_EVERY
        if (free := shutil.disk_usage(self._data).free) < RESERVE // 2:
            raise Unavailable(f"The disk is nearly full ({_mib(free)} are free). Free some space, then try again.")


def _mib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{max(1, size // 1024**2)} MiB"
