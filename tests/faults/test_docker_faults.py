"""The Docker API breaks off, hangs or fails: nobody else waits, nothing is taken for gone, the wish is met after."""

from __future__ import annotations

import asyncio
import time

import pytest

from clawloops.model.runtime import Phase, Want
from tests.faults.rig import Rig, side_by_side
from tests.standin.engine_proxy import Call, Fault, Moment, Refusal

pytestmark = [pytest.mark.docker, pytest.mark.faults]

BROKEN = Refusal(500, "something is wrong with the disk, the kernel or the moon")


async def lose_events(rig: Rig) -> None:
    """A stream that was cut is taken up again; one that is silent costs a resync."""
    runtime = await rig.member()
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    for _ in range(3):
        rig.proxy.cut_events()
        await asyncio.to_thread(rig.place.container(runtime).kill)
        await asyncio.sleep(0.3)
        assert await rig.wanted(runtime, Want.RUNNING) < 15
    rig.proxy.events_pass = False
    await asyncio.to_thread(rig.place.container(runtime).remove, force=True)
    await asyncio.sleep(0.3)
    await rig.wanted(runtime, Want.RUNNING, within_s=45)


async def hang_for_one(rig: Rig) -> None:
    """Only the runtime that Docker hangs for waits."""
    slow, made, other = await rig.member(), await rig.member(Want.GONE), await rig.member()
    await rig.begin()
    await rig.wanted(slow, Want.RUNNING)
    await rig.wanted(other, Want.RUNNING)
    ours = rig.place.container(slow).id, rig.place.name(slow), rig.place.name(made)

    def script(call: Call) -> Fault | None:
        if any(each in f"{call.path}?{call.query}" for each in ours):
            return Fault(Moment.AFTER, rig.proxy.hang(22), passes=True)  # longer than anybody waits for an answer
        return None

    rig.proxy.script(script)
    for runtime, want in ((slow, Want.STOPPED), (made, Want.RUNNING)):
        await rig.wish(runtime, want)
    began = time.monotonic()
    while time.monotonic() - began < 20:
        for want in (Want.STOPPED, Want.RUNNING):
            await rig.wish(other, want)
            assert await rig.wanted(other, want) < 10
    assert "docker info" in await rig.shown(slow, Phase.UNKNOWN)
    rig.proxy.script(None)
    await rig.wanted(slow, Want.STOPPED)
    await rig.wanted(made, Want.RUNNING)
    assert rig.plane.alive


async def hang_for_all(rig: Rig) -> None:
    """Afterwards every wish is met, with the containers that were there."""
    runtimes = [await rig.member() for _ in range(6)]
    await rig.begin()
    await asyncio.gather(*(rig.wanted(each, Want.RUNNING) for each in runtimes))
    made = {each.id: rig.place.container(each).id for each in runtimes}
    until = time.monotonic() + 20

    def script(call: Call) -> Fault | None:
        left = until - time.monotonic()
        return Fault(Moment.BEFORE, rig.proxy.hang(left), passes=True) if left > 0 else None

    rig.proxy.script(script)
    wants = [Want.STOPPED, Want.RUNNING, Want.GONE, Want.RUNNING, Want.STOPPED, Want.RUNNING]
    for runtime, want in zip(runtimes, wants, strict=True):
        await rig.wish(runtime, want)
    await asyncio.sleep(until - time.monotonic())
    assert rig.plane.alive
    for runtime, want in zip(runtimes, wants, strict=True):
        await rig.wanted(runtime, want)
        assert want is Want.GONE or rig.place.container(runtime).id == made[runtime.id]


async def test_lost_events_and_a_docker_api_that_hangs_for_20_s_delay_nobody_else_and_all_wishes_are_met(
    three: list[Rig],
) -> None:
    await side_by_side(story(rig) for rig, story in zip(three, (lose_events, hang_for_one, hang_for_all), strict=True))


async def test_an_engine_that_fails_at_looking_means_unknown_and_touches_nothing(rig: Rig) -> None:
    runtime, stopped = await rig.member(), await rig.member(Want.STOPPED)
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    before = rig.place.container(runtime).attrs["State"]["StartedAt"]
    rig.proxy.script(lambda call: None if call.path == "/events" else BROKEN)
    await rig.wish(stopped, Want.RUNNING)
    rig.plane.wake_all()
    assert "the moon" in await rig.shown(runtime, Phase.UNKNOWN)
    await rig.shown(stopped, Phase.UNKNOWN)
    await asyncio.sleep(3)
    assert rig.proxy.calls == []
    rig.proxy.script(None)
    await rig.wanted(runtime, Want.RUNNING)
    await rig.wanted(stopped, Want.RUNNING)
    assert rig.place.container(runtime).attrs["State"]["StartedAt"] == before


async def test_an_engine_that_fails_at_a_step_is_told_as_that_and_tried_ever_more_rarely(rig: Rig) -> None:
    runtime, stale = await rig.member(Want.GONE), await rig.member()
    await rig.begin()
    await rig.wanted(stale, Want.RUNNING)
    name = f"second-{rig.place.install_id}"
    rig.watch.allow(name)
    labels = rig.place.container(stale).labels
    rig.proxy.script(lambda call: BROKEN if call.method == "DELETE" or call.path.endswith("/create") else None)
    await asyncio.to_thread(rig.place.docker.containers.create, rig.place.image, name=name, labels=labels)
    await rig.wish(runtime, Want.RUNNING)
    await rig.shown(stale, Phase.DEGRADED)
    assert "the moon" in await rig.shown(runtime, Phase.DEGRADED)
    rig.proxy.calls.clear()
    await asyncio.sleep(8)
    counts = [sum(call.path.startswith(path) for call in rig.proxy.calls) for path in ("/networks", "/containers")]
    assert min(counts) > 0 and max(counts) <= 5
    rig.proxy.script(None)
    await rig.wanted(runtime, Want.RUNNING)
    await rig.wanted(stale, Want.RUNNING)


async def test_a_limit_that_a_hand_changed_is_put_right_at_once_and_not_only_at_the_next_resync(rig: Rig) -> None:
    runtime = await rig.member()
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    await asyncio.to_thread(rig.place.container(runtime).update, mem_limit="512m", memswap_limit="512m")
    assert await rig.wanted(runtime, Want.RUNNING) < 15
