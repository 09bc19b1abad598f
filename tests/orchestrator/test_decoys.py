"""The decoy that lies in a runtime, and a runtime that waits for an admin because its decoy was used."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from clawloops.model.decoy import Decoy
from clawloops.model.runtime import Phase, Runtime, Sleep, Want
from clawloops.runtimes.files import folder
from clawloops.store import runtimes as rows
from tests.standin.parts import DECOYS
from tests.standin.place import Place

pytestmark = pytest.mark.docker


async def _found(place: Place, runtime: Runtime) -> Decoy | None:
    """What somebody finds who looks for keys there."""
    return DECOYS.find(await place.inside(runtime, "grep -rhs clk_ /run /etc"))


async def _finds(place: Place, runtime: Runtime, decoy: Decoy) -> None:
    async with asyncio.timeout(10):
        while await _found(place, runtime) != decoy:
            await asyncio.sleep(0.2)


async def _up(place: Place) -> Runtime:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    return runtime


async def test_it_is_renewed_in_a_running_container_and_another_one_in_each_new_container(place: Place) -> None:
    runtime = await _up(place)
    assert place.loop
    first = place.container(runtime).id
    assert await _found(place, runtime) == Decoy(runtime.id, 1, 0)
    assert "Read-only" in await place.inside(runtime, "echo x >>/run/clawloops/operator.env")
    await rows.renew_decoy(place.db, runtime.id)
    place.loop.wake(runtime.id)
    await _finds(place, runtime, Decoy(runtime.id, 1, 1))
    folder(place.install.data, runtime.id).decoy.unlink()
    place.loop.wake(runtime.id)
    await _finds(place, runtime, Decoy(runtime.id, 1, 1))
    assert place.container(runtime).id == first
    await place.wish(runtime, Want.GONE)
    await place.until(runtime, Phase.ABSENT)
    await place.wish(runtime, Want.RUNNING)
    await place.until(runtime, Phase.READY)
    assert await _found(place, runtime) == Decoy(runtime.id, 2, 1)


@pytest.mark.attacks
@pytest.mark.parametrize("frozen", [False, True])
async def test_one_that_is_held_ends_and_no_wish_brings_it_back_until_it_is_let_go(place: Place, frozen: bool) -> None:
    runtime = await _up(place)
    assert place.loop
    if frozen:
        await rows.put(place.db, replace(await place.row(runtime), sleep=Sleep.PAUSED))
        place.loop.wake(runtime.id)
        await place.until(runtime, Phase.PAUSED)
    place.walls.hold(runtime.id, "its decoy was used")
    place.loop.wake(runtime.id)
    view = await place.seen(runtime, lambda view: view.phase is Phase.DEGRADED and "decoy" in view.reason)
    async with asyncio.timeout(15):
        while place.container(runtime).status != "exited":
            await asyncio.sleep(0.2)
    assert view.address is None
    await place.loop.rouse(runtime.id, "a visit")
    await place.wish(runtime, Want.GONE)
    await place.until(runtime, Phase.ABSENT)
    await place.wish(runtime, Want.RUNNING)
    await place.until(runtime, Phase.DEGRADED)
    for _ in range(10):
        place.loop.wake(runtime.id)
        await asyncio.sleep(0.1)
    assert place.docker.containers.list(filters={"name": place.name(runtime)}, ignore_removed=True) == []
    place.walls.let_go(runtime.id)
    place.loop.wake(runtime.id)
    await place.until(runtime, Phase.READY)
