"""Many clicks, and many control planes: the last wish wins, and a container's name stays a name for one."""

from __future__ import annotations

import asyncio
import random

import pytest

from clawloops.model.runtime import Want
from tests.faults.rig import Rig

pytestmark = [pytest.mark.docker, pytest.mark.faults]


async def test_of_20_rapid_clicks_the_last_one_counts(rig: Rig) -> None:
    runtimes = [await rig.member(), await rig.member()]
    await rig.begin()
    for runtime in runtimes:
        await rig.wanted(runtime, Want.RUNNING)
    for number in range(20):
        for runtime, last in zip(runtimes, (Want.RUNNING, Want.STOPPED), strict=True):
            other = Want.STOPPED if last is Want.RUNNING else Want.RUNNING
            await rig.wish(runtime, last if number % 2 else other)
        await asyncio.sleep(random.random() * 0.3)
    await rig.wanted(runtimes[0], Want.RUNNING)
    await rig.wanted(runtimes[1], Want.STOPPED)
    for runtime in runtimes:
        assert (await rig.place.row(runtime)).failures == 0


async def test_two_control_planes_that_both_believe_to_lead_still_make_one_container_per_member(rig: Rig) -> None:
    """The lock keeps it from happening (tests/faults/test_leadership.py); Docker's names hold even without it."""
    runtimes = [await rig.member(Want.GONE) for _ in range(3)]
    for _ in range(2):
        await rig.begin()
    for wants in ([Want.RUNNING] * 3, [Want.STOPPED, Want.RUNNING, Want.GONE], [Want.RUNNING] * 3):
        for runtime, want in zip(runtimes, wants, strict=True):
            await rig.wish(runtime, want)
        for runtime, want in zip(runtimes, wants, strict=True):
            await rig.wanted(runtime, want)
    first, second = rig.planes
    first.kill()
    for runtime in runtimes:
        await rig.wish(runtime, Want.STOPPED)
    for runtime in runtimes:
        await rig.wanted(runtime, Want.STOPPED)
    assert second.alive
