"""Wishes about workspaces: written down, and the loop woken; one workspace and one network for each member."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from clawloops.errors import Conflict, Forbidden, NotFound, Unavailable
from clawloops.model.runtime import Policy, Size, Sleep, Want
from clawloops.model.workspace import Task
from clawloops.store import jobs
from clawloops.store import runtimes as rows
from tests.control.conftest import House


async def test_opening_twice_at_once_makes_one_workspace(house: House) -> None:
    user, _ = await house.join("ada")
    opened = await asyncio.gather(*(house.runtimes.open(user) for _ in range(5)))
    assert len({each.id for each in [*opened, *await rows.all(house.db)]}) == 1
    runtime = await house.runtimes.of_owner(user.id)
    assert runtime is not None
    assert runtime.want is Want.RUNNING
    assert house.woken


async def test_every_member_gets_a_network_of_their_own_until_the_pool_is_used_up(house: House) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    first, second = await house.runtimes.open(owner), await house.runtimes.open(ben)
    assert {first.subnet, second.subnet} == {"10.213.0.0/29", "10.213.0.8/29"}
    eve, _ = await house.join("eve", by=owner)
    await house.runtimes.open(eve)
    last, _ = await house.join("max", by=owner)
    with pytest.raises(Unavailable, match="CLAWLOOPS_RUNTIME_POOL"):
        await house.runtimes.open(last)  # the fourth and last network is the canary's


async def test_an_admin_starts_and_stops_a_workspace_and_cannot_give_it_up_and_others_do_not_see_it(
    house: House,
) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    eve, _ = await house.join("eve", by=owner)
    runtime = await house.runtimes.open(ben)
    for attempt in (
        house.runtimes.wish(runtime.id, Want.STOPPED, by=eve),
        house.runtimes.restart(runtime.id, by=eve),
        house.runtimes.settings(runtime.id, by=eve, policy=Policy.PAUSE),
        house.runtimes.history(runtime.id, by=eve),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Forbidden):
        await house.runtimes.all(by=ben)
    stopped = await house.runtimes.wish(runtime.id, Want.STOPPED, by=owner)
    assert (stopped.want, stopped.sleep_why) == (Want.STOPPED, "Stopped by Ada")
    started = await house.runtimes.wish(runtime.id, Want.RUNNING, by=owner)
    assert (started.want, started.sleep_why) == (Want.RUNNING, "Started by Ada")
    with pytest.raises(Forbidden):
        await house.runtimes.wish(runtime.id, Want.GONE, by=owner)
    entries = [(each.action, each.actor) for each in await house.audit.latest()]
    assert entries[:2] == [("workspace wanted running", owner.id), ("workspace wanted stopped", owner.id)]


async def test_a_wish_ends_the_sleep_and_the_history_names_who_made_it(house: House) -> None:
    ada, _ = await house.join("ada")
    runtime = await house.runtimes.open(ada)
    asleep = replace(runtime, sleep=Sleep.STOPPED, sleep_why="It was stopped because nobody used it", wake_at=2**40)
    await rows.put(house.db, asleep)
    house.woken.clear()
    woken = await house.runtimes.wish(runtime.id, Want.RUNNING, by=ada)
    assert (woken.sleep, woken.sleep_why, woken.wake_at) == (Sleep.AWAKE, "Woken by Ada", 0)
    assert house.woken == [runtime.id]
    again = await house.runtimes.wish(runtime.id, Want.RUNNING, by=ada)
    assert again == woken, "a wish that is fulfilled changes nothing"
    lines = [(each.text, each.actor) for each in await house.runtimes.history(runtime.id, by=ada)]
    assert lines == [("Woken by Ada", ada.id), ("Started by Ada", ada.id)]


async def test_two_clicks_on_restart_are_one_and_a_stopped_workspace_is_not_restarted(house: House) -> None:
    ada, _ = await house.join("ada")
    runtime = await house.runtimes.open(ada)
    await house.runtimes.restart(runtime.id, by=ada)
    await house.runtimes.restart(runtime.id, by=ada)
    assert [each.task for each in await jobs.open_(house.db)] == [Task.RESTART]
    await house.runtimes.wish(runtime.id, Want.STOPPED, by=ada)
    with pytest.raises(Conflict, match="Start it instead"):
        await house.runtimes.restart(runtime.id, by=ada)


async def test_a_member_says_how_deep_it_sleeps_and_an_admin_how_large_it_is(house: House) -> None:
    ada, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=ada)
    runtime = await house.runtimes.open(ben)
    await rows.put(house.db, replace(runtime, sleep=Sleep.PAUSED))
    changed = await house.runtimes.settings(runtime.id, by=ben, policy=Policy.ALWAYS_ON, sleeps_despite_polling=True)
    assert (changed.policy, changed.sleeps_despite_polling) == (Policy.ALWAYS_ON, True)
    assert changed.sleep is Sleep.AWAKE, "what is to stay awake is woken"
    with pytest.raises(Forbidden):
        await house.runtimes.settings(runtime.id, by=ben, size=Size.LARGE)
    changed = await house.runtimes.settings(runtime.id, by=ada, size=Size.LARGE)
    assert changed.size is Size.LARGE
    before = await house.audit.latest()
    assert await house.runtimes.settings(runtime.id, by=ada, size=Size.LARGE) == changed
    assert await house.audit.latest() == before, "what changes nothing is not noted"


async def test_wishing_again_forgets_the_failures_of_before(house: House) -> None:
    user, _ = await house.join("ada")
    runtime = await house.runtimes.open(user)
    await rows.set_failure(house.db, runtime.id, 5, "it ended with exit code 1", 2**40)
    again = await house.runtimes.wish(runtime.id, Want.RUNNING, by=user)
    assert (again.failures, again.failure, again.retry_at) == (0, "", 0)


async def test_disabling_a_member_stops_the_runtime(house: House) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    runtime = await house.runtimes.open(ben)
    house.accounts.on_disabled = house.runtimes.stop_for
    await house.accounts.disable(ben.id, by=owner)
    kept = await rows.get(house.db, runtime.id)
    assert kept is not None
    assert (kept.want, kept.sleep_why) == (Want.STOPPED, "Its member was shut out")
    with pytest.raises(Conflict, match="Enable them first"):
        await house.runtimes.wish(runtime.id, Want.RUNNING, by=owner)
