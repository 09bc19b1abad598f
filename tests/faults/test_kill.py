"""`kill -9` of the control plane around every single call that changes something in Docker."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from clawloops.model.runtime import Runtime, Want
from tests.faults.rig import Rig
from tests.standin.control_plane import ControlPlane
from tests.standin.engine_proxy import Fault, Moment, Script

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.limit(180)]


def kill_at(number: int, plane: ControlPlane, moment: Moment) -> Script:
    return lambda call: Fault(moment, plane.kill) if call.number == number else None


async def there_and_back(rig: Rig, runtime: Runtime, there: Want, back: Want, moment: Moment) -> dict[Want, list[str]]:
    """Wish one and the other in turn, with a kill at the first changing call of each, then the second, … to the last.

    After each kill the next control plane must reach the wish. Returns the calls at which there was a kill.
    """
    killed: dict[Want, list[str]] = {there: [], back: []}
    for number in itertools.count(1):
        alive = 0
        for want in (there, back):
            plane = rig.plane
            rig.proxy.script(kill_at(number, plane, moment))
            await rig.wish(runtime, want)
            while plane.alive and await rig.missing(runtime, want):
                await asyncio.sleep(0.05)
            killed[want] += [str(call) for call in rig.proxy.calls if call.number == number]
            rig.proxy.script(None)
            if plane.alive:
                alive += 1
            else:
                await rig.again()
                await rig.wanted(runtime, want)
            assert len(rig.place.containers(runtime)) <= 1
        if alive == 2:
            break
    return killed


@pytest.mark.parametrize("moment", Moment)
async def test_killed_while_a_workspace_is_made_or_deleted_the_next_control_plane_finishes_it(
    rig: Rig, moment: Moment
) -> None:
    runtime = await rig.member(Want.GONE)
    await rig.begin()
    killed = await there_and_back(rig, runtime, Want.RUNNING, Want.GONE, moment)
    made, deleted = ([each.split(" ")[1:] for each in killed[want]] for want in (Want.RUNNING, Want.GONE))
    assert made[0][1] == "/networks/create"
    assert ["POST", "/volumes/create"] in made and ["POST", "/containers/create"] in made
    assert made[-1][1].endswith("/start")
    assert deleted[0][1].endswith("/kill")
    assert [verb for verb, _ in deleted].count("DELETE") == 2


@pytest.mark.parametrize("moment", Moment)
async def test_killed_while_it_stops_or_starts_again_the_last_wish_wins_with_the_same_container(
    rig: Rig, moment: Moment
) -> None:
    runtime = await rig.member()
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    made = rig.place.container(runtime).id
    killed = await there_and_back(rig, runtime, Want.STOPPED, Want.RUNNING, moment)
    assert [each.rpartition("/")[2] for each in killed[Want.STOPPED]] == ["kill"]
    assert [each.rpartition("/")[2] for each in killed[Want.RUNNING]] == ["start"]
    assert rig.place.container(runtime).id == made
