"""Workspaces in another sandbox than the Engine's own: made, told, put to sleep and kept when the host loses it.

gVisor itself is tried where `runsc` is on the PATH. Everywhere, runc under that name shows what Docker is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from clawloops.model.runtime import Phase, Sandbox, Want
from clawloops.orchestrator.sleep import Rules
from clawloops.runtimes import bodies, canary, containers, drift, names, sandboxes
from clawloops.runtimes.images import Images
from tests.standin.daemon import Daemon
from tests.standin.fixtures import opened
from tests.standin.place import Place

pytestmark = [pytest.mark.docker, pytest.mark.limit(240)]

NO_GVISOR = pytest.mark.skipif(
    shutil.which("runsc") is None, reason="gVisor's runsc is not on the PATH of this machine"
)
KERNEL = "cat /proc/version"


@asynccontextmanager
async def placed(runsc: str, source: docker.DockerClient, image: str, folder: Path) -> AsyncIterator[Place]:
    """A place in a daemon of its own, which knows a program under the name of runsc, or ("") none."""
    with Daemon(runsc=runsc) as daemon:
        await daemon.load(image, source)
        with contextlib.closing(daemon.client()) as client:
            async with opened(Place(client, daemon.url, folder, image)) as made:
                yield made


@pytest.fixture(params=["runc", pytest.param("runsc", marks=NO_GVISOR)])
async def place(
    request: pytest.FixtureRequest, docker_client: docker.DockerClient, standin: str, tmp_path: Path
) -> AsyncIterator[Place]:
    program = shutil.which(request.param)
    assert program, "the Engine's own runc is not on the PATH"
    async with placed(program, docker_client, standin, tmp_path) as made:
        made.install = replace(made.install, sandbox=Sandbox.RUNSC)
        yield made


async def test_a_workspace_and_the_canary_run_in_it_and_nobody_takes_that_for_an_edit(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY, seconds=60)
    subnet = str(list(ipaddress.IPv4Network(place.pool).subnets(new_prefix=29))[-1])
    await canary.keep(place.engine, Images(place.engine), place.install, subnet, anew=False)
    for runtime_id in (runtime.id, names.CANARY):
        found = place.docker.containers.get(names.container(place.install_id, runtime_id))
        assert found.attrs["HostConfig"]["Runtime"] == "runsc"
    body = bodies.canary(place.install, subnet)
    image = await Images(place.engine).look(place.image)
    (seen,) = await containers.seen(place.engine, place.install_id, names.CANARY, body=body, image=image)
    assert seen.edited == ()
    inspected = place.docker.api.inspect_container(seen.id)
    inspected["HostConfig"]["Runtime"] = "runc"
    assert drift.differences(body, inspected, image=image) == ("Runtime",)
    before = place.container(runtime).id
    await asyncio.sleep(1)
    assert place.container(runtime).id == before


async def test_it_is_frozen_goes_on_and_its_memory_stays_where_it_is(place: Place) -> None:
    runtime = await place.member()
    place.rules = Rules(pause_after_ms=500, stop_after_ms=10**9)
    await place.orchestrate()
    await place.until(runtime, Phase.PAUSED, seconds=60)
    assert place.install.is_rigid
    assert place.container(runtime).attrs["HostConfig"]["Memory"] == place.install.limits_of(runtime).memory_mb * 2**20
    assert place.loop is not None
    await place.loop.rouse(runtime.id, "a test")
    await place.until(runtime, Phase.READY, seconds=30)


async def test_a_host_that_has_lost_it_keeps_every_container_starts_none_and_says_what_to_do(
    docker_client: docker.DockerClient, standin: str, tmp_path: Path
) -> None:
    async with placed("", docker_client, standin, tmp_path) as place:
        runtime = await place.member()
        await place.orchestrate()
        await place.until(runtime, Phase.READY, seconds=60)
        before = place.container(runtime).id
        assert place.loop is not None
        await place.loop.stop()
        place.install = replace(place.install, sandbox=Sandbox.RUNSC)
        await place.orchestrate()
        await place.until(runtime, Phase.READY, seconds=30)  # what runs goes on
        await place.wish(runtime, Want.STOPPED)
        await place.until(runtime, Phase.STOPPED, seconds=30)
        await place.wish(runtime, Want.RUNNING)
        view = await place.until(runtime, Phase.DEGRADED, seconds=30)
        assert view.reason == sandboxes.MISSING
        assert place.container(runtime).id == before and place.container(runtime).status == "exited"
