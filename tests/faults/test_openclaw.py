"""The named faults with the real OpenClaw: its owner lease, its boot, and its workspace survive them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from clawloops.model.runtime import Phase, Runtime, Want
from tests.faults.rig import Rig
from tests.orchestrator.live import openclaw_image
from tests.standin.daemon import Daemon
from tests.standin.engine_proxy import Fault, Moment
from tests.standin.place import SOCKET

# The stand-in lives through the same in each run.
pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.long, pytest.mark.limit(400)]

BOOT_WITHIN_S = 90.0  # its boot takes 8 s on a machine that has nothing else to do


@asynccontextmanager
async def real(client: docker.DockerClient, url: str, folder: Path, image: str) -> AsyncIterator[Rig]:
    rig = Rig(client, url, folder, image)
    rig.place.install = replace(rig.place.install, memory_mb=2048, cpus=2.0)
    async with rig:
        yield rig


async def killed_at(rig: Rig, runtime: Runtime, path: str, moment: Moment) -> None:
    """Wish it running, and kill the control plane at this call."""
    plane = rig.plane
    rig.proxy.script(lambda call: Fault(moment, plane.kill) if call.path.endswith(path) else None)
    await rig.wish(runtime, Want.RUNNING)
    async with asyncio.timeout(30):
        while plane.alive:
            await asyncio.sleep(0.02)
    rig.proxy.script(None)
    await rig.again()
    await rig.wanted(runtime, Want.RUNNING, within_s=BOOT_WITHIN_S)


async def test_a_control_plane_killed_in_mid_create_and_a_runtime_killed_in_mid_life_cost_openclaw_nothing(
    docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    async with real(docker_client, SOCKET, tmp_path, openclaw_image(docker_client)) as rig:
        runtime = await rig.member(Want.GONE)
        await rig.begin()
        await killed_at(rig, runtime, "/containers/create", Moment.DURING)
        made = rig.place.container(runtime).id
        await asyncio.to_thread(rig.place.container(runtime).kill)  # its lease is not given back
        await asyncio.sleep(0.5)
        await rig.wanted(runtime, Want.RUNNING, within_s=BOOT_WITHIN_S)
        assert rig.place.container(runtime).id == made
        await rig.wish(runtime, Want.GONE)
        await rig.wanted(runtime, Want.GONE)
        await killed_at(rig, runtime, "/start", Moment.AFTER)
        assert (await rig.place.row(runtime)).failures <= 1


async def test_openclaw_lives_through_a_killed_daemon_and_is_back_after_a_reboot(
    docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    image = openclaw_image(docker_client)
    with Daemon(live_restore=True, disk_mb=4000) as daemon:
        await daemon.load(image, docker_client)
        client = daemon.client()
        async with real(client, daemon.url, tmp_path, image) as rig:
            runtime = await rig.member()
            await rig.begin()
            await rig.wanted(runtime, Want.RUNNING, within_s=BOOT_WITHIN_S)
            before = rig.place.container(runtime)
            await asyncio.to_thread(daemon.kill)
            await rig.shown(runtime, Phase.UNKNOWN)
            await asyncio.to_thread(daemon.start)
            await rig.wanted(runtime, Want.RUNNING, within_s=60)
            assert rig.place.container(runtime).attrs["State"]["StartedAt"] == before.attrs["State"]["StartedAt"]
            await asyncio.to_thread(daemon.power_off)
            await asyncio.to_thread(daemon.boot)
            await rig.wanted(runtime, Want.RUNNING, within_s=BOOT_WITHIN_S)
            assert rig.place.container(runtime).id == before.id
        client.close()
