"""`kill -9` of the control plane around every call of an upgrade: the next one goes on, and no workspace changes."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from dataclasses import replace

import docker
import pytest

from clawloops.model.runtime import Runtime, Want
from clawloops.model.workspace import Job, JobState, Kind, Task
from clawloops.runtimes import names
from clawloops.store import jobs, volumes
from tests.faults.rig import IS_LONG, KEPT, Rig
from tests.faults.test_kill import kill_at
from tests.standin.engine_proxy import Moment
from tests.standin.versions import version

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.limit(300)]


async def upgrades(rig: Rig, runtime: Runtime) -> list[Job]:
    return [each for each in await jobs.of(rig.place.db, runtime.id, limit=200) if each.task is Task.UPGRADE]


async def upgrade(rig: Rig, runtime: Runtime, image: str, number: int, moment: Moment) -> tuple[Job, list[str]]:
    """To this image, with a kill at one changing call. Returns how it ended, and the call of the kill, if it came."""
    before = len(await upgrades(rig, runtime))
    rig.place.install = replace(rig.place.install, image=image)
    plane = await rig.again()
    rig.proxy.script(kill_at(number, plane, moment))
    killed: list[str] = []
    for _ in range(600):
        if not plane.alive:
            killed = [str(call) for call in rig.proxy.calls if call.number == number]
            rig.proxy.script(None)
            plane = await rig.again()
        found = await upgrades(rig, runtime)
        if len(found) > before and found[0].ended_at and not await rig.missing(runtime, Want.STOPPED):
            assert len(found) == before + 1, "it was begun twice"
            rig.proxy.script(None)
            return found[0], killed
        await asyncio.sleep(0.1)
    raise AssertionError(f"it did not end: {await upgrades(rig, runtime)}\n{plane.log.read_text()[-3000:]}")


async def the_same(rig: Rig, runtime: Runtime) -> str:
    """The hash of what is kept in the volume that is live now."""
    row = await rig.place.row(runtime)
    volume = rig.place.docker.volumes.get(names.volume(rig.place.install_id, runtime.id, row.volume))
    with open(f"{volume.attrs['Mountpoint']}/{KEPT}", "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


@pytest.mark.parametrize("moment", Moment if IS_LONG else [Moment.AFTER])
async def test_killed_at_any_call_of_an_upgrade_the_next_control_plane_finishes_it(
    rig: Rig, docker_client: docker.DockerClient, standin: str, moment: Moment
) -> None:
    runtime = await rig.member()
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    await rig.wish(runtime, Want.STOPPED)
    await rig.wanted(runtime, Want.STOPPED)
    before = await the_same(rig, runtime)
    images = itertools.cycle([version(docker_client, standin, "new"), standin])
    seen: list[str] = []
    for number in itertools.count(1):
        image = next(images)
        job, killed = await upgrade(rig, runtime, image, number, moment)
        assert job.state is JobState.DONE, job.note
        row = await rig.place.row(runtime)
        assert (row.image, row.before_image) == (image, "")
        assert await the_same(rig, runtime) == before
        assert [each.kind for each in await volumes.of(rig.place.db, runtime.id)].count(Kind.LIVE) == 1
        if not killed:
            break
        seen += killed
    assert any("/archive" in each for each in seen), "\n".join(seen)
    assert any(each.endswith("/start") for each in seen), "\n".join(seen)
    assert any(each.endswith("/kill") for each in seen), "\n".join(seen)


async def test_killed_while_it_goes_back_the_next_control_plane_goes_back(
    rig: Rig, docker_client: docker.DockerClient, standin: str
) -> None:
    runtime = await rig.member()
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    await rig.wish(runtime, Want.STOPPED)
    await rig.wanted(runtime, Want.STOPPED)
    before = await the_same(rig, runtime)
    for number in itertools.count(1):
        bad = version(
            docker_client, standin, ("mute", "broken")[number % 2]
        )  # another one each time, so that it is tried
        job, killed = await upgrade(rig, runtime, bad, number, Moment.AFTER)
        assert job.state is JobState.FAILED
        row = await rig.place.row(runtime)
        assert (row.image, row.before_image, row.volume) == (standin, "", 0)
        assert await the_same(rig, runtime) == before
        if not killed:
            break
