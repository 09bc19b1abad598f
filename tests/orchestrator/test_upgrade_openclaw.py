"""The real OpenClaw, upgraded to an image that differs in a label: its boot, its answer, and back to where it was."""

from __future__ import annotations

import io
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import docker
import pytest
from aiohttp import web

from clawloops.model.provider import Backend, BackendKind
from clawloops.model.runtime import Phase, Want
from clawloops.model.workspace import JobState
from clawloops.store import backends, models
from tests.orchestrator.live import SMALL, openclaw_image
from tests.orchestrator.test_upgrade import ended, restart
from tests.standin.namespace import socket_in
from tests.standin.place import Place
from tests.upstream import Upstream


@pytest.fixture
async def model(docker_client: docker.DockerClient, place: Place) -> AsyncIterator[Upstream]:
    """A scriptable model where a runtime looks for its gateway, known to the store."""
    upstream = Upstream()
    runner = web.AppRunner(upstream.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listener = socket_in(docker_client.api.inspect_container(place.install.edge)["State"]["Pid"])
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", place.install.gateway_port))
    await web.SockSite(runner, listener).start()
    await backends.add(
        place.db, Backend(SMALL.places[0].backend_id, "local", BackendKind.OLLAMA, "http://unused:11434", "", 1)
    )
    await models.add(place.db, SMALL)
    yield upstream
    await runner.cleanup()


@pytest.mark.docker
@pytest.mark.long  # the installed appliance does it in each run
@pytest.mark.limit(420)
async def test_the_real_openclaw_proves_a_new_image_with_one_answer_and_is_stopped_again(
    docker_client: docker.DockerClient, place: Place, model: Upstream
) -> None:
    old = openclaw_image(docker_client)
    new = old.replace(":", "-labelled:")
    recipe = f"FROM {old}\nLABEL org.example.version=new\n".encode()
    docker_client.images.build(fileobj=io.BytesIO(recipe), tag=new, rm=True)
    place.install = replace(place.install, image=old, memory_mb=2048, cpus=2.0)
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY, seconds=120)
    await place.inside(runtime, "echo mine > /home/node/note")
    await place.wish(runtime, Want.STOPPED)
    await place.until(runtime, Phase.STOPPED, seconds=60)

    await restart(place, image=new)
    job = await ended(place, runtime, seconds=200)
    assert job.state is JobState.DONE, job.note
    assert "the first answer came" in job.note
    assert len(model.seen) >= 1
    row = await place.row(runtime)
    assert (row.image, row.before_image, row.volume) == (new, "", 1)
    await place.until(runtime, Phase.STOPPED, seconds=60)
    await place.wish(runtime, Want.RUNNING)
    await place.until(runtime, Phase.READY, seconds=120)
    assert await place.inside(runtime, "cat /home/node/note") == "mine"
