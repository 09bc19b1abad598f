"""A paused workspace and the real Traefik, on the benchmark's own stage."""

from __future__ import annotations

import asyncio

import docker
import pytest

from clawloops.bench.served import serving
from clawloops.bench.stage import Stage, newest
from clawloops.bench.visitor import Browser, asleep, members
from clawloops.model.runtime import Phase, Sleep, Want
from tests.standin.fixtures import docker_client, standin

__all__ = ["docker_client", "standin"]

pytestmark = pytest.mark.docker
TRAEFIK_LOOKS_S = 4  # at most once in 2 s after something has started or ended


async def test_a_paused_workspace_is_entered_at_once_though_traefik_has_looked_at_docker_meanwhile(
    docker_client: docker.DockerClient, standin: str
) -> None:
    traefik = newest(docker_client, "clawloops/traefik")
    assert traefik, "there is no image of Traefik here; ./install.sh images makes it"
    stage = Stage(docker_client, traefik=traefik)
    try:
        await stage.open(standin)
        async with stage.client() as http:
            ada, bob = await members(stage, 2, Want.STOPPED)
            browser = Browser(http, stage.front_address)
            settings = stage.settings(image=standin, runtime_memory_mb=256, boots_at_once=2)
            async with serving(stage, settings, http) as served:
                await browser.press(ada, "open")
                await served.shows(ada.runtime_id, Phase.READY, since=0)
            await asleep(stage, [ada], Sleep.PAUSED)
            async with serving(stage, settings, http) as served:
                await served.shows(ada.runtime_id, Phase.PAUSED, since=0)
                await browser.press(bob, "open")
                await served.shows(bob.runtime_id, Phase.READY, since=0)
                await asyncio.sleep(TRAEFIK_LOOKS_S)
                _, refused = await browser.visit(ada)
                assert refused == ""
    finally:
        await stage.close()
