"""The work on workspaces, done by a real orchestrator: nothing lost, nothing half-done used, whatever is cut."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from clawloops.clock import now_ms
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.model.workspace import MOST_SNAPSHOTS, Job, JobState, Kind, Task, Volume
from clawloops.orchestrator import copies
from clawloops.runtimes import names, parcel, volumes
from clawloops.runtimes.archive import Archive
from clawloops.store import events
from clawloops.store import jobs as job_rows
from clawloops.store import volumes as rows
from tests.runtimes import workspaces
from tests.runtimes.test_hostile_files import REFUSED
from tests.standin.place import Place

pytestmark = pytest.mark.docker


async def ask(place: Place, runtime: Runtime, task: Task, argument: str = "") -> Job:
    job = Job("j" + secrets.token_hex(8), runtime.id, task, argument, JobState.PENDING, "", runtime.owner, now_ms(), 0)
    await job_rows.add(place.db, job)
    if place.loop is not None:
        place.loop.wake(runtime.id)
    return job


async def ended(place: Place, job: Job, state: JobState = JobState.DONE, *, seconds: float = 30) -> Job:
    async with asyncio.timeout(seconds):
        while (now := await job_rows.get(place.db, job.id)) is None or now.ended_at == 0:
            await asyncio.sleep(0.05)
    assert now.state is state, now
    return now


async def done(place: Place, runtime: Runtime, task: Task, argument: str = "") -> Job:
    return await ended(place, await ask(place, runtime, task, argument))


async def kinds(place: Place, runtime: Runtime) -> dict[int, Kind]:
    return {each.number: each.kind for each in await rows.of(place.db, runtime.id)}


async def newest(place: Place, runtime: Runtime, kind: Kind) -> Volume:
    return next(each for each in await rows.of(place.db, runtime.id) if each.kind is kind)


async def running(place: Place) -> Runtime:
    runtime = await place.member()
    if place.loop is None:
        await place.orchestrate()
    assert place.loop is not None
    place.loop.wake(runtime.id)
    await place.until(runtime, Phase.READY)
    return await place.row(runtime)


async def test_a_snapshot_is_made_while_it_is_paused_and_restored_by_a_swap(place: Place) -> None:
    runtime = await running(place)
    container = place.container(runtime).id
    await place.inside(runtime, "echo first > /home/node/work")
    await done(place, runtime, Task.SNAPSHOT, "before the demo")
    await place.until(runtime, Phase.READY)
    assert place.container(runtime).id == container
    assert await place.inside(runtime, "wc -l < /home/node/starts") == "1"
    snapshot = await newest(place, runtime, Kind.SNAPSHOT)
    assert (snapshot.number, snapshot.note, snapshot.image) == (1, "before the demo", place.image)
    assert snapshot.bytes > 1000
    await place.inside(runtime, "echo second > /home/node/work")
    await done(place, runtime, Task.RESTORE, "1")
    await place.until(runtime, Phase.READY)
    assert await place.inside(runtime, "cat /home/node/work") == "first"
    assert await kinds(place, runtime) == {0: Kind.TRASH, 1: Kind.SNAPSHOT, 2: Kind.LIVE}
    trash = await newest(place, runtime, Kind.TRASH)
    assert trash.note == "Until “before the demo” was restored"
    await done(place, runtime, Task.RESTORE, "0")  # out of the trash: a swap and no copy
    await place.until(runtime, Phase.READY)
    assert await place.inside(runtime, "cat /home/node/work") == "second"
    assert await kinds(place, runtime) == {0: Kind.LIVE, 1: Kind.SNAPSHOT, 2: Kind.TRASH}
    assert (await place.row(runtime)).volume == 0
    told = [each for each in await events.of(place.db, runtime.id) if each.kind in ("snapshot", "restore")]
    assert [(each.kind, each.actor) for each in told] == [("restore", runtime.owner)] * 2 + [
        ("snapshot", runtime.owner)
    ]
    assert all(each.took_ms is not None for each in told)
    assert await workspaces.carriers(place) == []


async def test_a_copy_that_arrives_as_a_snapshot_holds_its_member_up_in_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben = await running(place), await running(place)
    await place.inside(ada, "echo hers > /home/node/work")
    await done(place, ada, Task.SNAPSHOT)
    may_end, original = asyncio.Event(), copies.fill

    async def slow(*given: Any, **more: Any) -> tuple[int, int]:
        await may_end.wait()
        return await original(*given, **more)

    monkeypatch.setattr(copies, "fill", slow)
    job = await ask(place, ben, Task.CLONE, f"{ada.id} 1")
    async with asyncio.timeout(10):
        while (now := await job_rows.get(place.db, job.id)) is None or now.state is not JobState.RUNNING:
            await asyncio.sleep(0.05)
    await asyncio.to_thread(place.container(ben).kill)  # it crashes, is stopped, and is wanted again: all are seen to
    await asyncio.sleep(0.5)
    await place.until(ben, Phase.READY)
    await place.wish(ben, Want.STOPPED)
    await place.until(ben, Phase.STOPPED)
    await place.wish(ben, Want.RUNNING)
    await place.until(ben, Phase.READY)
    may_end.set()
    await ended(place, job)
    assert (await newest(place, ben, Kind.SNAPSHOT)).bytes > 1000
    assert place.board.get(ben.id).phase is Phase.READY


async def test_a_copy_under_way_is_cut_with_the_control_plane_and_made_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben = await running(place), await running(place)
    await done(place, ada, Task.SNAPSHOT)
    begun, original = asyncio.Event(), copies.fill

    async def never(*given: Any, **more: Any) -> tuple[int, int]:
        begun.set()
        return await asyncio.Future()

    monkeypatch.setattr(copies, "fill", never)
    job = await ask(place, ben, Task.CLONE, f"{ada.id} 1")
    await asyncio.wait_for(begun.wait(), 10)
    assert place.loop
    await place.loop.stop()
    monkeypatch.setattr(copies, "fill", original)
    await place.orchestrate()
    await ended(place, job)
    assert await newest(place, ben, Kind.SNAPSHOT)


async def test_an_emptied_workspace_begins_anew_and_the_old_one_is_in_the_trash(place: Place) -> None:
    runtime = await running(place)
    await place.inside(runtime, "echo mine > /home/node/work")
    await done(place, runtime, Task.RESET)
    await place.until(runtime, Phase.READY)
    assert await place.inside(runtime, "ls /home/node; stat -c %u /home/node") == "starts\n1000"
    await done(place, runtime, Task.RESTORE, "0")
    await place.until(runtime, Phase.READY)
    assert await place.inside(runtime, "cat /home/node/work") == "mine"


async def test_a_stopped_workspace_is_worked_on_and_stays_stopped(place: Place) -> None:
    runtime = await running(place)
    await place.wish(runtime, Want.STOPPED)
    await place.until(runtime, Phase.STOPPED)
    await done(place, runtime, Task.SNAPSHOT)
    await done(place, runtime, Task.RESTORE, "1")
    await place.until(runtime, Phase.STOPPED)
    assert not any(each.status == "running" for each in place.containers(runtime))


async def test_a_file_goes_out_and_comes_into_another_workspace(place: Place) -> None:
    ada = await running(place)
    secret = "mkdir -p .ssh .openclaw/state; echo k > .ssh/id; echo k > .openclaw/state/openclaw.sqlite"
    await place.inside(ada, f"cd /home/node; {secret}; echo mine > work")
    job = await done(place, ada, Task.EXPORT)
    assert "24 hours" in job.note
    path = parcel.path(place.install.data, job.id)
    assert path.stat().st_mode & 0o777 == 0o600
    ben = await running(place)
    coming = Job("j" + secrets.token_hex(8), ben.id, Task.IMPORT, "", JobState.PENDING, "", ben.owner, now_ms(), 0)
    await asyncio.to_thread(shutil.copy, path, parcel.path(place.install.data, coming.id))
    await job_rows.add(place.db, coming)
    assert place.loop is not None
    place.loop.wake(ben.id)
    await ended(place, coming)
    await place.until(ben, Phase.READY)
    assert await place.inside(ben, "cd /home/node; cat work; find .ssh .openclaw -type f 2>/dev/null") == "mine"
    assert not parcel.path(place.install.data, coming.id).exists()
    assert await kinds(place, ben) == {0: Kind.TRASH, 1: Kind.LIVE}


async def test_a_hostile_file_changes_nothing(place: Place) -> None:
    runtime = await running(place)
    await place.inside(runtime, "echo mine > /home/node/work")
    for case in ("file through a link", "cut"):
        job = Job("j" + secrets.token_hex(8), runtime.id, Task.IMPORT, "", JobState.PENDING, "", None, now_ms(), 0)
        path = parcel.path(place.install.data, job.id)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(REFUSED[case][0])
        await job_rows.add(place.db, job)
        assert place.loop is not None
        place.loop.wake(runtime.id)
        failed = await ended(place, job, JobState.FAILED)
        assert "in the file" in failed.note or "damaged" in failed.note
        assert not path.exists()
    await place.until(runtime, Phase.READY)
    assert await place.inside(runtime, "cat /home/node/work") == "mine"
    assert set((await kinds(place, runtime)).values()) == {Kind.LIVE, Kind.FILLING}


async def test_a_copy_for_another_member_waits_among_their_snapshots_or_is_their_first_workspace(place: Place) -> None:
    ada, ben = await running(place), await running(place)
    await place.inside(ada, "mkdir -p /home/node/.ssh; echo k > /home/node/.ssh/id; echo hers > /home/node/work")
    await place.inside(ben, "echo his > /home/node/work")
    await done(place, ada, Task.SNAPSHOT, "for ben")
    began = place.container(ben).attrs["State"]["StartedAt"]
    await done(place, ben, Task.CLONE, f"{ada.id} 1")
    assert place.container(ben).attrs["State"]["StartedAt"] == began
    assert await place.inside(ben, "cat /home/node/work") == "his"
    given = await newest(place, ben, Kind.SNAPSHOT)
    assert given.note == "for ben"
    await done(place, ben, Task.RESTORE, str(given.number))
    await place.until(ben, Phase.READY)
    assert await place.inside(ben, "cd /home/node; cat work; ls -A .ssh 2>/dev/null") == "hers"
    eve = await place.member(Want.STOPPED)
    await done(place, eve, Task.CLONE, f"{ada.id} 1")
    assert await kinds(place, eve) == {1: Kind.LIVE}
    await place.wish(eve, Want.RUNNING)
    await place.until(eve, Phase.READY)
    assert await place.inside(eve, "cat /home/node/work") == "hers"


@pytest.mark.faults
async def test_a_control_plane_that_dies_in_the_middle_leaves_everything_usable(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await running(place)
    await place.inside(runtime, "echo mine > /home/node/work; head -c 40M /dev/zero > /home/node/big")
    await done(place, runtime, Task.SNAPSHOT, "whole")
    begun = asyncio.Event()
    whole = Archive.copy

    async def cut(self: Archive, *args: Any, **options: Any) -> int:
        begun.set()
        await asyncio.Event().wait()  # the process ends here
        return 0

    for method in (cut, whole):
        monkeypatch.setattr(Archive, "copy", method)
        if method is cut:
            job = await ask(place, runtime, Task.RESTORE, "1")
            async with asyncio.timeout(30):
                await begun.wait()
            assert place.loop is not None
            await place.loop.stop()
            middle = await job_rows.get(place.db, job.id)
            assert middle is not None
            assert middle.state is JobState.RUNNING
            assert (await place.row(runtime)).volume == 0
        else:
            await place.orchestrate()
            await ended(place, job)
    await place.until(runtime, Phase.READY)
    assert await place.inside(runtime, "cat /home/node/work") == "mine"
    assert await kinds(place, runtime) == {0: Kind.TRASH, 1: Kind.SNAPSHOT, 2: Kind.FILLING, 3: Kind.LIVE}


@pytest.mark.faults
async def test_a_copy_that_is_cut_again_and_again_is_given_up(place: Place) -> None:
    runtime = await running(place)
    await done(place, runtime, Task.SNAPSHOT)
    job = await ask(place, await place.member(Want.STOPPED), Task.CLONE, f"{runtime.id} 1")
    for _ in range(copies.TRIES):
        await rows.begin(place.db, job.runtime_id, note="cut", image="", now=now_ms())
    assert "cut off 3 times" in (await ended(place, job, JobState.FAILED)).note


@pytest.mark.faults
async def test_what_cannot_be_done_is_said_and_the_workspace_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await running(place)
    await done(place, runtime, Task.SNAPSHOT)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as full:
        full.setattr(copies.shutil, "disk_usage", lambda path: usage(10**10, 9 * 10**9, 10**9))  # type: ignore[attr-defined]
        failed = await ended(place, await ask(place, runtime, Task.SNAPSHOT), JobState.FAILED)
        assert "not enough room" in failed.note
        assert "free some space" in failed.note
    for argument in ("7", "0", "x", ""):
        failed = await ended(place, await ask(place, runtime, Task.RESTORE, argument), JobState.FAILED)
        assert "not there any more" in failed.note
    name = names.volume(place.install_id, runtime.id, 1)
    await asyncio.to_thread(place.docker.volumes.get(name).remove)
    failed = await ended(place, await ask(place, runtime, Task.RESTORE, "1"), JobState.FAILED)
    assert "is not there" in failed.note
    assert not await volumes.exists(place.engine, place.install_id, runtime.id, 1)
    for number in range(2, MOST_SNAPSHOTS + 1):
        filled = await rows.begin(place.db, runtime.id, note=str(number), image="", now=now_ms())
        await rows.keep_as_snapshot(place.db, runtime.id, filled, size=1)
    failed = await ended(place, await ask(place, runtime, Task.SNAPSHOT), JobState.FAILED)
    assert "Delete one first" in failed.note
    await place.until(runtime, Phase.READY)
    assert Path(place.install.data).exists()


async def test_a_wish_that_comes_while_files_are_copied_counts_as_well(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await running(place)
    await place.inside(runtime, "echo mine > /home/node/work")
    await done(place, runtime, Task.SNAPSHOT)
    whole = Archive.copy

    async def wished(self: Archive, *args: Any, **options: Any) -> int:
        copied = await whole(self, *args, **options)
        await place.wish(runtime, Want.STOPPED)
        return copied

    monkeypatch.setattr(Archive, "copy", wished)
    await done(place, runtime, Task.RESTORE, "1")
    await place.until(runtime, Phase.STOPPED)
    row = await place.row(runtime)
    assert (row.want, row.volume) == (Want.STOPPED, 2)


async def test_what_a_member_asks_for_does_not_wait_for_an_upgrade_that_waits_until_they_are_idle(place: Place) -> None:
    runtime = await place.member()
    upgrade = await ask(place, runtime, Task.UPGRADE, "another-image")
    snapshot = await ask(place, runtime, Task.SNAPSHOT)
    for job in (snapshot, upgrade):
        assert await job_rows.next_of(place.db, runtime.id) == job
        await job_rows.note(place.db, job.id, JobState.DONE, "", now=now_ms())
    begun, later = await ask(place, runtime, Task.UPGRADE), await ask(place, runtime, Task.SNAPSHOT)
    await job_rows.note(place.db, begun.id, JobState.RUNNING, "", now=now_ms())
    found = await job_rows.next_of(place.db, runtime.id)
    assert found is not None
    assert found.id == begun.id != later.id
