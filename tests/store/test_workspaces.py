"""Rows of volumes, jobs and history, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.errors import Conflict
from clawloops.model.runtime import Policy, Runtime, Size, Sleep, Want
from clawloops.model.workspace import Job, JobState, Kind, Task
from clawloops.store import events, jobs, runtimes, users, volumes
from clawloops.store.db import Database
from tests.store import rows


@pytest.fixture
async def runtime(db: Database) -> Runtime:
    user = rows.user()
    await users.add(db, user)
    made = rows.runtime(user.id)
    await runtimes.add(db, made)
    return made


async def test_a_changed_copy_is_written_once_and_read_back_whole(db: Database, runtime: Runtime) -> None:
    changed = replace(
        runtime,
        sleep=Sleep.PAUSED,
        sleep_why="nobody used it",
        sleep_at=5,
        wake_at=7,
        policy=Policy.PAUSE,
        size=Size.LARGE,
        sleeps_despite_polling=True,
        pin="image:1",
        image="image:1",
        hook_hash=b"h" * 32,
    )
    written = await runtimes.put(db, changed)
    assert written == replace(changed, version=runtime.version + 1) == await runtimes.get(db, runtime.id)
    with pytest.raises(Conflict):
        await runtimes.put(db, changed)


async def test_a_wish_ends_any_sleep(db: Database, runtime: Runtime) -> None:
    asleep = await runtimes.put(db, replace(runtime, sleep=Sleep.STOPPED, sleep_why="idle", wake_at=9))
    woken = await runtimes.set_want(db, asleep, Want.RUNNING)
    assert (woken.sleep, woken.sleep_why, woken.wake_at) == (Sleep.AWAKE, "", 0)


async def test_a_volume_gets_a_number_that_no_other_has(db: Database, runtime: Runtime) -> None:
    live = await volumes.used(db, runtime, image="image:1", now=1)
    assert (live.volume, live.image, live.volume_at) == (0, "image:1", 1)
    first = await volumes.begin(db, runtime.id, note="copy", image="image:1", now=2)
    await volumes.forget(db, runtime.id, first)
    second = await volumes.begin(db, runtime.id, note="copy", image="image:1", now=3)
    assert (first, second) == (1, 1)  # nothing ever stood behind a forgotten one
    third = await volumes.begin(db, runtime.id, note="copy", image="image:1", now=4)
    assert third == 2


async def test_swapping_puts_the_live_one_into_the_trash(db: Database, runtime: Runtime) -> None:
    live = await volumes.used(db, runtime, image="image:1", now=1)
    number = await volumes.begin(db, runtime.id, note="copy", image="image:2", now=2)
    swapped = await volumes.swap(db, live, number, now=3, note="before the restore", image="image:2")
    assert (swapped.volume, swapped.image) == (number, "image:2")
    assert [(each.number, each.kind) for each in await volumes.of(db, runtime.id)] == [
        (number, Kind.LIVE),
        (0, Kind.TRASH),
    ]
    assert [each.number for each in await volumes.ended_before(db, Kind.TRASH, 4)] == [0]
    assert await volumes.ended_before(db, Kind.TRASH, 3) == []
    with pytest.raises(Conflict):
        await volumes.swap(db, live, 0, now=4, note="too late")
    assert (await volumes.of(db, runtime.id))[0].kind is Kind.LIVE
    await volumes.forget(db, runtime.id, number)  # a live one is never forgotten
    assert len(await volumes.of(db, runtime.id)) == 2


async def test_jobs_are_done_oldest_first_and_cancelled_only_before_they_begin(db: Database, runtime: Runtime) -> None:
    for number in (1, 2):
        await jobs.add(
            db, Job(f"j{number}", runtime.id, Task.SNAPSHOT, "", JobState.PENDING, "", runtime.owner, number, 0)
        )
    first = await jobs.next_of(db, runtime.id)
    assert first is not None and first.id == "j1"
    assert (await jobs.note(db, "j1", JobState.RUNNING, "copying", now=5)).ended_at == 0
    assert not await jobs.cancel(db, "j1", now=6)
    assert await jobs.cancel(db, "j2", now=6)
    assert (await jobs.note(db, "j1", JobState.DONE, "copied", now=7)).ended_at == 7
    assert await jobs.next_of(db, runtime.id) is None
    assert await jobs.open_(db) == []
    assert [each.id for each in await jobs.of(db, runtime.id)] == ["j2", "j1"]
    assert await jobs.sweep(db, 7) == 1


async def test_history_is_read_newest_first_page_by_page_and_swept_by_age(db: Database, runtime: Runtime) -> None:
    for number in range(5):
        await events.add(db, runtime.id, at=number, kind="start", text=f"event {number}", took_ms=number)
    page = await events.of(db, runtime.id, limit=2)
    assert [each.text for each in page] == ["event 4", "event 3"]
    rest = await events.of(db, runtime.id, before=page[-1].id)
    assert [each.text for each in rest] == ["event 2", "event 1", "event 0"]
    assert await events.sweep(db, 3) == 3
    assert len(await events.of(db, runtime.id)) == 2
