"""A member's files: who may ask for what, what is refused at once, what the purge removes and what it never does."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clawloops.clock import now_ms
from clawloops.control import uploads, workspaces
from clawloops.control.runtimes import CONSOLE
from clawloops.control.workspaces import MOST_WAITING, Workspaces
from clawloops.errors import BadInput, Conflict, Forbidden, Gone, NotFound, Unavailable
from clawloops.model.account import User
from clawloops.model.runtime import Runtime
from clawloops.model.workspace import MOST_SNAPSHOTS, JobState, Kind, Task, Volume
from clawloops.runtimes import names, parcel, volumes
from clawloops.runtimes.client import Engine
from clawloops.store import jobs, runtimes
from clawloops.store import volumes as rows
from clawloops.store.db import Database
from tests.control.conftest import House
from tests.runtimes.test_hostile_files import ROOT, whole
from tests.standin.fixtures import docker_client, place, standin
from tests.standin.place import SOCKET, Place

__all__ = ["docker_client", "place", "standin"]
DAY = 86_400_000


@dataclass
class Desk:
    files: Workspaces
    house: House
    ada: User
    ben: User
    runtime: Runtime  # ben's, started once
    data: Path


async def started(db: Database, runtime: Runtime) -> Runtime:
    return await rows.used(db, runtime, image="img", now=now_ms())


async def snapshots(db: Database, runtime: Runtime, count: int = 1) -> list[int]:
    made = []
    for each in range(count):
        number = await rows.begin(db, runtime.id, note=f"before {each}", image="img", now=now_ms())
        await rows.keep_as_snapshot(db, runtime.id, number, size=5)
        made.append(number)
    return made


@pytest.fixture
async def desk(house: House, tmp_path: Path) -> Desk:
    ada, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=ada)
    runtime = await started(house.db, await house.runtimes.made_for(ben))
    files = Workspaces(
        house.db,
        house.audit,
        house.runtimes,
        Engine(SOCKET),
        install_id="none",
        data=str(tmp_path),
        wake=house.woken.append,
    )
    return Desk(files, house, ada, ben, runtime, tmp_path)


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 100):
        yield content[at : at + 100]


def parcels(desk: Desk) -> list[Path]:
    return list((desk.data / "parcels").glob("*"))


@pytest.mark.faults
async def test_an_upload_leaves_the_database_its_room_on_the_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([3 * 1024**3, 1024**3])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, next(left)))
    monkeypatch.setattr(uploads, "LOOK_EVERY", 1000)

    with pytest.raises(Unavailable, match="Ask an administrator to free some space"):
        await desk.files.import_file(desk.runtime.id, chunks(bytes(5000)), by=desk.ben)
    assert parcels(desk) == []


@pytest.mark.faults
async def test_an_upload_that_stops_arriving_is_ended_and_takes_no_place(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "STALL_S", 0.05)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * 100
        await asyncio.Event().wait()

    with pytest.raises(BadInput, match="stopped arriving"):
        await desk.files.import_file(desk.runtime.id, stalled(), by=desk.ben)
    assert parcels(desk) == []
    assert await desk.files.import_file(desk.runtime.id, chunks(whole(ROOT)), by=desk.ben)


async def test_one_file_at_a_time_is_received_for_a_member(desk: Desk) -> None:
    may_go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await may_go_on.wait()
        yield whole(ROOT)

    first = asyncio.create_task(desk.files.import_file(desk.runtime.id, slow(), by=desk.ben))
    await asyncio.sleep(0.05)
    with pytest.raises(Conflict, match="on its way already"):
        await desk.files.import_file(desk.runtime.id, chunks(whole(ROOT)), by=desk.ben)
    may_go_on.set()
    assert (await first).task is Task.IMPORT


@pytest.mark.faults
async def test_the_purge_goes_on_for_ever_whatever_becomes_of_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspaces, "PURGE_EVERY_S", 0)
    times = 0

    async def breaks() -> int:
        nonlocal times
        times += 1
        raise FileNotFoundError("a file that was there a moment ago")

    monkeypatch.setattr(desk.files, "purge", breaks)
    purging = asyncio.create_task(desk.files.run())
    async with asyncio.timeout(5):
        while times < 3:
            await asyncio.sleep(0.01)
    purging.cancel()


@pytest.mark.faults
def test_a_file_that_is_taken_away_while_old_ones_are_swept_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # as one that vanished between the listing and the look
    old = tmp_path / "old"
    old.touch()
    os.utime(old, (1, 1))
    workspaces._sweep_files(tmp_path, set())
    assert not old.exists()


async def test_what_is_asked_for_is_written_down_and_the_keeper_is_woken(desk: Desk) -> None:
    job = await desk.files.snapshot(desk.runtime.id, "  before \n the demo ", by=desk.ben)
    assert (job.task, job.argument, job.state, job.actor) == (
        Task.SNAPSHOT,
        "before the demo",
        JobState.PENDING,
        desk.ben.id,
    )
    assert desk.house.woken[-1] == desk.runtime.id
    shelf = await desk.files.shelf(desk.runtime.id, by=desk.ben)
    assert [each.id for each in shelf.jobs] == [job.id]
    assert shelf.live is not None
    assert (await desk.house.audit.latest())[0].action == "workspace snapshot"
    await desk.files.cancel(job.id, by=desk.ben)
    with pytest.raises(Conflict, match="begun already"):
        await desk.files.cancel(job.id, by=desk.ben)


async def test_only_its_member_decides_over_files_and_an_admin_sees_how_much_there_is(desk: Desk) -> None:
    (number,) = await snapshots(desk.house.db, desk.runtime)
    eve, _ = await desk.house.join("eve", by=desk.ada)
    mine = await desk.files.snapshot(desk.runtime.id, by=desk.ben)
    assert len((await desk.files.shelf(desk.runtime.id, by=desk.ada)).snapshots) == 1
    for who, error in ((desk.ada, Forbidden), (eve, NotFound)):
        for attempt in (
            desk.files.snapshot(desk.runtime.id, by=who),
            desk.files.restore(desk.runtime.id, number, by=who),
            desk.files.reset(desk.runtime.id, by=who),
            desk.files.export(desk.runtime.id, by=who),
            desk.files.import_file(desk.runtime.id, chunks(whole(ROOT)), by=who),
            desk.files.clone(desk.runtime.id, number, "eve", by=who),
            desk.files.put_away(desk.runtime.id, number, by=who),
            desk.files.exported(mine.id, by=who),
            desk.files.cancel(mine.id, by=who),
        ):
            with pytest.raises(error):
                await attempt
    with pytest.raises(NotFound):
        await desk.files.shelf(desk.runtime.id, by=eve)
    await desk.files.export(desk.runtime.id, by=CONSOLE)  # a shell on the box can do as much anyway


async def test_what_cannot_be_done_is_refused_at_once(desk: Desk) -> None:
    fresh = await desk.house.runtimes.made_for(desk.ada)
    for attempt in (desk.files.snapshot(fresh.id, by=desk.ada), desk.files.export(fresh.id, by=desk.ada)):
        with pytest.raises(Conflict, match="never started"):
            await attempt
    for number in (0, 7):
        with pytest.raises(NotFound):
            await desk.files.restore(desk.runtime.id, number, by=desk.ben)
    await snapshots(desk.house.db, desk.runtime, MOST_SNAPSHOTS)
    with pytest.raises(Conflict, match="Delete one first"):
        await desk.files.snapshot(desk.runtime.id, by=desk.ben)
    for _ in range(MOST_WAITING):
        await desk.files.export(desk.runtime.id, by=desk.ben)
    with pytest.raises(Conflict, match="waiting"):
        await desk.files.export(desk.runtime.id, by=desk.ben)


async def test_a_snapshot_goes_to_the_trash_and_says_how_long_it_stays(desk: Desk) -> None:
    first, second = await snapshots(desk.house.db, desk.runtime, 2)
    await desk.files.put_away(desk.runtime.id, first, by=desk.ben)
    shelf = await desk.files.shelf(desk.runtime.id, by=desk.ben)
    assert [each.number for each in shelf.snapshots] == [second]
    assert [(each.number, days) for each, days in shelf.trash] == [(first, 7)]
    assert (await desk.files.restore(desk.runtime.id, first, by=desk.ben)).argument == str(first)


async def test_a_copy_is_given_to_a_member_and_never_to_nobody(desk: Desk) -> None:
    (number,) = await snapshots(desk.house.db, desk.runtime)
    eve, _ = await desk.house.join("eve", by=desk.ada)
    job = await desk.files.clone(desk.runtime.id, number, " Ada ", by=desk.ben)
    hers = await desk.house.runtimes.of_owner(desk.ada.id)
    assert hers is not None
    assert (job.runtime_id, job.task, job.argument) == (hers.id, Task.CLONE, f"{desk.runtime.id} {number}")
    assert desk.house.woken[-1] == hers.id
    await desk.house.accounts.disable(eve.id, by=desk.ada)
    for to in ("eve", "nobody", "ben", ""):
        with pytest.raises(BadInput):
            await desk.files.clone(desk.runtime.id, number, to, by=desk.ben)
    await snapshots(desk.house.db, hers, MOST_SNAPSHOTS)
    with pytest.raises(Conflict, match="Ada's workspace"):
        await desk.files.clone(desk.runtime.id, number, "ada", by=desk.ben)


async def test_a_file_is_taken_only_when_it_is_one(desk: Desk) -> None:
    job = await desk.files.import_file(desk.runtime.id, chunks(whole(ROOT)), by=desk.ben)
    path = parcel.path(str(desk.data), job.id)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (whole(ROOT), 0o600)
    for wrong in (b"", b"a letter", gzip.compress(b"x" * 600)):
        with pytest.raises(BadInput):
            await desk.files.import_file(desk.runtime.id, chunks(wrong), by=desk.ben)
    assert list(path.parent.iterdir()) == [path]
    await desk.files.cancel(job.id, by=desk.ben)
    assert list(path.parent.iterdir()) == []


@pytest.mark.docker
async def test_an_exported_file_is_there_for_a_day(desk: Desk) -> None:
    job = await desk.files.export(desk.runtime.id, by=desk.ben)
    with pytest.raises(NotFound):
        await desk.files.exported(job.id, by=desk.ben)
    path = parcel.path(str(desk.data), job.id)
    path.parent.mkdir()
    path.write_bytes(b"x")
    await jobs.note(desk.house.db, job.id, JobState.DONE, "", now=now_ms())
    assert await desk.files.exported(job.id, by=desk.ben) == path
    await jobs.note(desk.house.db, job.id, JobState.DONE, "", now=now_ms() - 25 * 3_600_000)
    with pytest.raises(Gone, match="24 hours"):
        await desk.files.exported(job.id, by=desk.ben)
    waiting = await desk.files.import_file(desk.runtime.id, chunks(whole(ROOT)), by=desk.ben)
    old = time.time() - 25 * 3600
    for each in path.parent.iterdir():
        os.utime(each, (old, old))
    await desk.files.purge()
    assert [each.name for each in path.parent.iterdir()] == [f"{waiting.id}.tar.gz"]


@pytest.mark.docker
async def test_the_purge_removes_old_trash_and_leftovers_and_nothing_else(desk: Desk, place: Place) -> None:
    db, install, runtime = desk.house.db, place.install_id, desk.runtime
    files = Workspaces(
        db,
        desk.house.audit,
        desk.house.runtimes,
        place.engine,
        install_id=install,
        data=str(desk.data),
        wake=desk.house.woken.append,
    )
    now = now_ms()
    wanted: dict[str, tuple[Kind, int, int]] = {
        "old snapshot": (Kind.SNAPSHOT, now - 400 * DAY, 0),
        "old trash": (Kind.TRASH, now - 9 * DAY, now - 8 * DAY),
        "new trash of an old one": (Kind.TRASH, now - 400 * DAY, now - 6 * DAY),
        "old leftover": (Kind.FILLING, now - 2 * DAY, 0),
        "a copy under way": (Kind.FILLING, now - DAY // 2, 0),
        "old trash in use": (Kind.TRASH, now - 9 * DAY, now - 8 * DAY),
        "live by the wish": (Kind.TRASH, now - 9 * DAY, now - 8 * DAY),
        "before an upgrade on trial": (Kind.TRASH, now - 9 * DAY, now - 8 * DAY),
    }
    for number, (note, (kind, made, ended)) in enumerate(wanted.items(), start=1):
        row = Volume(runtime.id, number, kind, note, "img", 0, made, ended)
        await rows.begin(db, runtime.id, note=note, image="img", now=made)
        await db.execute(
            "UPDATE volumes SET kind = $1, ended_at = $2 WHERE runtime_id = $3 AND number = $4",
            row.kind.value,
            ended,
            runtime.id,
            number,
        )
        await volumes.ensure(place.engine, install, runtime.id, number)
    await volumes.ensure(place.engine, install, runtime.id, 0)
    await runtimes.put(db, replace(runtime, volume=7, before_image="img", before_volume=8))
    user = await asyncio.to_thread(
        place.docker.containers.create,
        place.image,
        volumes={names.volume(install, runtime.id, 6): {"bind": "/home/node"}},
        labels={names.MANAGED: "true", names.INSTALL: install},
    )
    assert await files.purge() == 2
    there = {number for number in range(9) if await volumes.exists(place.engine, install, runtime.id, number)}
    assert there == {0, 1, 3, 5, 6, 7, 8}
    assert {each.number for each in await rows.of(db, runtime.id)} == {0, 1, 3, 5, 6, 7, 8}
    with pytest.raises(NotFound):  # out of reach from the moment on that its removal was tried
        await files.restore(runtime.id, 6, by=desk.ben)
    await asyncio.to_thread(user.remove)
    assert await files.purge() == 1
    assert await files.purge() == 0
    removed = [each.detail for each in await desk.house.audit.latest() if each.action == "volume removed"]
    assert sorted(removed) == ["old leftover", "old trash", "old trash in use"]
