"""The Docker daemon dies, the machine reboots, its disk is full: with a daemon of the test's own, never the host's."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import docker
import pytest

from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.runtimes import containers
from tests.faults.rig import Rig
from tests.standin.daemon import Daemon
from tests.standin.engine_proxy import Fault, Moment

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.limit(240)]

BACK_WITHIN_S = 60.0


@pytest.fixture(scope="module", params=[False, True], ids=["live-restore off", "live-restore on"])
def daemon(request: pytest.FixtureRequest, docker_client: docker.DockerClient, standin: str) -> Iterator[Daemon]:
    with Daemon(live_restore=request.param) as made:
        asyncio.run(made.load(standin, docker_client))
        yield made


@pytest.fixture
async def rig(daemon: Daemon, standin: str, tmp_path: Path) -> AsyncIterator[Rig]:
    client = daemon.client()
    async with Rig(client, daemon.url, tmp_path, standin) as made:
        try:
            yield made
        finally:
            await asyncio.to_thread(daemon.recover)
    client.close()


async def all_wanted(rig: Rig, wants: dict[Runtime, Want]) -> None:
    seconds = [rig.wanted(each, want, within_s=BACK_WITHIN_S) for each, want in wants.items()]
    print("wanted after", [round(each, 1) for each in await asyncio.gather(*seconds)])


async def all_wish(rig: Rig, wants: dict[Runtime, Want]) -> None:
    for each, want in wants.items():
        await rig.wish(each, want)


@asynccontextmanager
async def an_administrator(rig: Rig, *runtimes: Runtime) -> AsyncIterator[None]:
    """Does what a workspace's page tells to do where the Engine itself cannot go on."""

    async def look() -> None:
        while True:
            for each in runtimes:
                _, reason = rig.plane.view(each.id)
                if told := re.search(r"`(pkill -KILL -f [0-9a-f]{64})`", reason):
                    print("as told:", told[1])
                    await asyncio.to_thread(subprocess.run, told[1].split(), check=False)
            await asyncio.sleep(0.5)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()


class InFlight:
    """Calls that the Engine has, and whose answers nobody gets."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._over = threading.Event()
        self._asked: set[str] = set()

    def hold(self, *paths: str) -> None:
        """From now on; each path once, at its next call."""
        self._over.clear()
        self._asked.clear()
        self._rig.proxy.script(lambda call: self._fault(call.path) if call.path in paths else None)

    async def begun(self, number: int) -> None:
        async with asyncio.timeout(20):
            while len(self._asked) < number:
                await asyncio.sleep(0.01)

    def end(self) -> None:
        self._rig.proxy.script(None)
        self._over.set()

    def _fault(self, path: str) -> Fault:
        def wait() -> None:
            self._asked.add(path)
            self._over.wait(30)

        return Fault(Moment.DURING, wait)


async def test_a_daemon_killed_in_the_middle_of_everything_leaves_every_wish_standing(rig: Rig, daemon: Daemon) -> None:
    made, started, stopped = await rig.member(Want.GONE), await rig.member(), await rig.member()
    resting = {await rig.member(): Want.RUNNING, await rig.member(Want.STOPPED): Want.STOPPED}
    before = {made: Want.GONE, started: Want.STOPPED, stopped: Want.RUNNING}
    after = {made: Want.RUNNING, started: Want.RUNNING, stopped: Want.STOPPED}
    await rig.begin()
    await all_wanted(rig, {started: Want.RUNNING, stopped: Want.RUNNING})
    (rig.workspace(stopped.id) / "drain-s").write_text("3\n")
    flight = InFlight(rig)
    for delay_s in (0.0, 0.3):
        await all_wish(rig, before)
        await all_wanted(rig, before | resting)
        flight.hold("/containers/create", f"/containers/{rig.place.container(started).id}/start")
        await all_wish(rig, after)
        await flight.begun(2)
        await rig.shown(stopped, Phase.STOPPING)
        await asyncio.sleep(delay_s)
        await asyncio.to_thread(daemon.kill)
        flight.end()
        assert "docker info" in await rig.shown(made, Phase.UNKNOWN)
        await asyncio.to_thread(daemon.start)
        async with an_administrator(rig, started, made):
            await all_wanted(rig, after | resting)


async def test_after_a_reboot_everything_is_as_wanted(rig: Rig, daemon: Daemon) -> None:
    wants = {await rig.member(): Want.RUNNING, await rig.member(): Want.RUNNING, await rig.member(): Want.STOPPED}
    slept = list(wants)[1]
    await rig.begin()
    await all_wanted(rig, dict.fromkeys(wants, Want.RUNNING))
    await all_wish(rig, wants)
    await all_wanted(rig, wants)
    made = {each: rig.place.container(each).id for each in wants}
    rig.plane.kill()
    await containers.pause(rig.place.engine, rig.place.container(slept).id)
    await asyncio.to_thread(daemon.power_off)
    await rig.again()  # it is up before Docker is
    await asyncio.sleep(1)
    await asyncio.to_thread(daemon.boot)
    await all_wanted(rig, wants)
    assert {each: rig.place.container(each).id for each in wants} == made


async def test_a_full_disk_is_named_as_what_it_is_and_once_there_is_space_the_wish_is_met(
    rig: Rig, daemon: Daemon
) -> None:
    runtime, new = await rig.member(), await rig.member(Want.GONE)
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    await asyncio.to_thread(daemon.fill_disk)
    try:
        await rig.wish(new, Want.RUNNING)
        reason = await rig.shown(new, Phase.DEGRADED)
        assert "Docker keeps its data on is full" in reason
        assert await rig.missing(runtime, Want.RUNNING) == ""
    finally:
        await asyncio.to_thread(daemon.free_disk)
    await all_wanted(rig, {runtime: Want.RUNNING, new: Want.RUNNING})
