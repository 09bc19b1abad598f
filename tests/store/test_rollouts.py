"""Rows of rollouts, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Runtime
from clawloops.model.workspace import Job, JobState, Task
from clawloops.store import jobs, rollouts, runtimes, users
from clawloops.store.db import Database
from clawloops.store.rollouts import FORGIVEN
from tests.store import rows

FIRST = Rollout("image:1", "r1", RolloutState.CANARY, "one first", 100, 0)


@pytest.fixture
async def runtime(db: Database) -> Runtime:
    user = rows.user()
    await users.add(db, user)
    made = rows.runtime(user.id)
    await runtimes.add(db, made)
    return made


async def test_only_the_latest_rollout_counts_even_when_the_clock_was_set_back(db: Database) -> None:
    assert await rollouts.of(db, "image:1") is None
    await rollouts.begin(db, FIRST)
    assert await rollouts.of(db, "image:1") == FIRST
    halted = replace(FIRST, state=RolloutState.HALTED, note="it went back", ended_at=200)
    await rollouts.put(db, halted)
    assert await rollouts.of(db, "image:1") == halted
    await rollouts.begin(db, replace(FIRST, image="image:2", started_at=50))
    assert await rollouts.of(db, "image:1") is None
    again = await rollouts.of(db, "image:2")
    assert again is not None and again.started_at > FIRST.started_at
    await rollouts.begin(db, FIRST)  # anew
    begun = await rollouts.of(db, "image:1")
    assert begun is not None and (begun.state, begun.ended_at) == (RolloutState.CANARY, 0)


async def test_what_failed_before_is_forgiven_once(db: Database, runtime: Runtime) -> None:
    for number, (image, state) in enumerate(
        [("image:1", JobState.FAILED), ("image:2", JobState.FAILED), ("image:1", JobState.DONE)]
    ):
        await jobs.add(db, Job(f"j{number}", runtime.id, Task.UPGRADE, image, state, "it ended", None, number, 9))
    await rollouts.begin(db, FIRST)
    await rollouts.forgive(db, "image:1", runtime.id)
    await rollouts.forgive(db, "image:2", "somebody else")
    notes = [each.note for each in await jobs.of_task(db, Task.UPGRADE)]
    assert notes == [f"{FORGIVEN}it ended", "it ended", "it ended"]
    assert await jobs.of_task(db, Task.EXPORT) == []


async def test_the_chosen_canary_is_remembered(db: Database) -> None:
    assert await rollouts.chosen_canary(db) == ""
    await rollouts.choose_canary(db, "r1")
    await rollouts.choose_canary(db, "r2")
    assert await rollouts.chosen_canary(db) == "r2"


async def test_a_job_that_was_begun_goes_before_one_that_seems_older(db: Database, runtime: Runtime) -> None:
    await jobs.add(db, Job("j1", runtime.id, Task.UPGRADE, "image:1", JobState.RUNNING, "", None, 500, 0))
    await jobs.add(db, Job("j2", runtime.id, Task.SNAPSHOT, "", JobState.PENDING, "", None, 100, 0))
    first = await jobs.next_of(db, runtime.id)
    assert first is not None and first.id == "j1"
