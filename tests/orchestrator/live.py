"""One real OpenClaw with a scriptable model behind its gateway's address. No orchestrator looks after it."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import docker
from aiohttp import web

from clawloops.model import provider
from clawloops.model.connection import Connection
from clawloops.model.provider import Model
from clawloops.model.runtime import Runtime, Want
from clawloops.orchestrator.ask import TIMEOUT_S, Control
from clawloops.orchestrator.probe import over
from clawloops.runtimes import containers, names, networks, openclaw, volumes
from clawloops.runtimes.files import Folder, folder
from clawloops.runtimes.spec import CONFIG_DIR, create_body
from tests.standin.namespace import socket_in
from tests.standin.place import ROOT, Place
from tests.upstream import Upstream

SMALL = Model("m" + "0" * 16, "small", (provider.Place("b" + "0" * 16, "small"),), 128_000, 8192, True, 1)


def openclaw_image(client: docker.DockerClient) -> str:
    """The tag that install.sh has built or pulled."""
    tags = [tag for image in client.images.list("clawloops/openclaw") for tag in image.tags]
    assert tags, f"there is no image of OpenClaw here; {ROOT}/install.sh images makes it"
    return tags[0]


@dataclasses.dataclass
class Live:
    place: Place
    runtime: Runtime
    address: str
    model: Upstream
    control: Control
    session: aiohttp.ClientSession
    files: Folder

    def configure(
        self, models: Sequence[Model] = (SMALL,), connections: Sequence[Connection] = (), **changes: Any
    ) -> None:
        """Write the configuration again, with these top-level keys replaced."""
        made = openclaw.render(self.runtime, self.place.install, models, connections)
        self.files.write_config(openclaw.text({**made, **changes}))

    async def rpc(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.control._call(self.address, method, params)

    async def sessions(self) -> int:
        """How many conversations OpenClaw lists."""
        answer = await self.rpc("status")
        return int(answer["sessions"]["count"])

    async def pause(self) -> None:
        await containers.pause(self.place.engine, self.place.container(self.runtime).id)

    async def unpause(self) -> None:
        await asyncio.to_thread(self.place.container(self.runtime).unpause)


@asynccontextmanager
async def live_openclaw(client: docker.DockerClient, place: Place, *, trusts: bytes = b"") -> AsyncIterator[Live]:
    """Boots it, which takes ten seconds or more. `place` is open, and sweeps what is made here.

    `trusts`: a certificate (PEM) that it takes for one of the world's authorities.
    """
    place.install = dataclasses.replace(place.install, image=openclaw_image(client), memory_mb=2048, cpus=2.0)
    pid = client.api.inspect_container(place.install.edge)["State"]["Pid"]
    runtime = await place.member(Want.STOPPED)
    address = names.addresses(runtime.subnet).runtime
    model = Upstream()
    runner = web.AppRunner(model.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    connector = aiohttp.TCPConnector(
        force_close=True, socket_factory=lambda info: socket_in(pid, info[0], info[1], info[2])
    )
    session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
    try:
        listener = socket_in(pid)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", place.install.gateway_port))
        await web.SockSite(runner, listener).start()
        files = folder(place.install.data, runtime.id)
        live = Live(place, runtime, address, model, Control(session), session, files)
        await _boot(live, trusts)
        yield live
    finally:
        await session.close()
        await runner.cleanup()


async def _boot(live: Live, trusts: bytes = b"") -> None:
    place, runtime, engine = live.place, live.runtime, live.place.engine
    install, id_ = place.install, place.install_id
    live.files.write_token("not-secret")
    live.configure()
    await networks.create(engine, id_, runtime.id, subnet=runtime.subnet)
    network = names.network(id_, runtime.id)
    await networks.connect(engine, network, install.edge, names.addresses(runtime.subnet).edge)
    await volumes.ensure(engine, id_, runtime.id)
    runtime = dataclasses.replace(runtime, token_hash=hashlib.sha256(b"not-secret").digest())
    body = create_body(runtime, install)
    if trusts:
        live.files.config.with_name("trusted.pem").write_bytes(trusts)
        body["Env"].append(f"NODE_EXTRA_CA_CERTS={CONFIG_DIR}/trusted.pem")
    await containers.create(engine, place.name(runtime), body)
    await containers.start(engine, place.container(runtime).id)
    ready = over(live.session, timeout_s=TIMEOUT_S)
    async with asyncio.timeout(90):
        while not await ready(live.address):
            await asyncio.sleep(0.5)
