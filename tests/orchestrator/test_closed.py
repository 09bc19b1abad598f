"""OpenClaw closes for new work when it agrees to sleep; whatever becomes of that, it is open again once it is awake."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace

import pytest

from clawloops.clock import now_ms, steady_ms
from clawloops.control.audit import Audit
from clawloops.control.runtimes import CONSOLE, Runtimes
from clawloops.model.runtime import Phase, Runtime, Sleep, Want
from clawloops.orchestrator import activity
from clawloops.orchestrator.ask import Ready
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.sleep import PAUSE_LEAD_MS, Rules
from clawloops.runtimes import names
from clawloops.store import runtimes as rows
from tests.standin.parts import FromEdge
from tests.standin.place import Place

pytestmark = pytest.mark.docker

SOON = Rules(pause_after_ms=0, stop_after_ms=10**12)
LATER = Rules(pause_after_ms=10**12, stop_after_ms=10**12)


async def _is_closed(place: Place, runtime: Runtime) -> bool:
    return await place.inside(runtime, "test -e /home/node/suspended && echo closed") == "closed"


async def _opens(place: Place, runtime: Runtime) -> None:
    """Much sooner than its own two minutes."""
    async with asyncio.timeout(8):
        while await _is_closed(place, runtime):
            await asyncio.sleep(0.1)


async def _asleep(place: Place) -> Runtime:
    """It fell asleep by itself, and sleeps no second time."""
    place.rules = SOON
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.PAUSED)
    assert place.loop
    await place.loop.stop()
    place.rules, place.board = LATER, Board()
    await place.orchestrate()
    await place.until(runtime, Phase.PAUSED)
    return runtime


async def _ready(place: Place) -> Runtime:
    place.rules = LATER
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    return runtime


async def test_a_button_on_the_dashboard_opens_it(place: Place) -> None:
    runtime = await _asleep(place)
    assert place.loop
    runtimes = Runtimes(
        place.db, Audit(place.db, b"key"), pool=ipaddress.IPv4Network("10.0.0.0/29"), wake=place.loop.wake
    )
    await runtimes.wish(runtime.id, Want.RUNNING, by=CONSOLE)
    await place.until(runtime, Phase.READY)
    await _opens(place, runtime)


async def test_its_scheduled_job_finds_it_open(place: Place) -> None:
    runtime = await _asleep(place)
    row = await place.row(runtime)
    await rows.put(place.db, replace(row, wake_at=now_ms() + PAUSE_LEAD_MS + 500))
    assert place.loop
    place.loop.wake(runtime.id)
    await place.until(runtime, Phase.READY)
    await _opens(place, runtime)


async def test_a_visit_opens_it_before_it_is_let_in(place: Place) -> None:
    runtime = await _asleep(place)
    assert place.loop
    await place.loop.rouse(runtime.id, "you opened it")
    assert not await _is_closed(place, runtime)


async def test_a_visit_that_comes_as_a_look_ends_its_sleep_finds_it_going_all_the_same(place: Place) -> None:
    runtime = await _asleep(place)
    await rows.put(place.db, replace(await place.row(runtime), sleep=Sleep.AWAKE, sleep_why="It was woken."))
    assert place.loop
    await place.loop.rouse(runtime.id, "you opened it")
    assert place.container(runtime).status == "running" and not await _is_closed(place, runtime)
    await place.until(runtime, Phase.READY)


async def test_a_visitor_who_leaves_in_the_middle_of_waking_it_leaves_it_open(place: Place) -> None:
    runtime = await _asleep(place)
    assert place.loop
    waking = asyncio.create_task(place.loop.rouse(runtime.id, "you opened it"))
    async with asyncio.timeout(5):
        while (await asyncio.to_thread(place.container, runtime)).status == "paused":
            await asyncio.sleep(0)
    waking.cancel()
    await place.until(runtime, Phase.READY)
    await _opens(place, runtime)
    assert (await place.row(runtime)).sleep is Sleep.AWAKE


async def test_a_control_plane_that_died_between_the_agreement_and_the_pause_leaves_it_to_the_next_one(
    place: Place,
) -> None:
    runtime = await _ready(place)
    assert place.loop
    await place.loop.stop()
    control = FromEdge(place.docker, place.install.edge)
    assert isinstance(await control.prepare(names.addresses(runtime.subnet).runtime), Ready)
    assert await _is_closed(place, runtime)
    await place.orchestrate()
    await _opens(place, runtime)


async def test_one_that_could_not_be_made_anew_is_not_asked_for_its_agreement(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await _ready(place)
    assert place.loop
    await place.loop.stop()
    place.install = replace(place.install, image="clawloops/none:1")
    await rows.put(place.db, replace(await place.row(runtime), image="clawloops/none:1"))
    later = steady_ms() + 600_000  # nobody has used it for so long
    loop = await place.orchestrate()
    monkeypatch.setattr(activity, "steady_ms", lambda: later)
    asked: list[str] = []
    monkeypatch.setattr(FromEdge, "prepare", lambda self, address: asked.append(address))
    for _ in range(10):
        loop.wake(runtime.id)
        await asyncio.sleep(0.3)
    assert asked == []
    assert place.container(runtime).status == "running"
