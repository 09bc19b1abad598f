"""The peer: a container with the same body as a runtime's, started through the bare Engine API."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time

from clawloops.bench.stage import Stage
from clawloops.errors import SetupError
from clawloops.model.runtime import Runtime, Want
from clawloops.orchestrator.probe import Probe
from clawloops.runtimes import containers, names, networks, openclaw, volumes
from clawloops.runtimes.files import folder
from clawloops.runtimes.seen import YOUNG_MS
from clawloops.runtimes.spec import create_body

EVERY_S = 0.05  # between two probes
BOOT_LIMIT_S = 180


class Bare:
    """Network, files and volume are there before the clock runs: a `docker run` makes none of them."""

    def __init__(self, stage: Stage, image: str, probe: Probe) -> None:
        number = secrets.token_hex(8)
        self._install = stage.install(image, stage.peer_id)
        self._engine = stage.engine
        self._probe = probe
        self._row = Runtime(
            "r" + number, "u" + number, "s" + number, Want.RUNNING, stage.subnet(), 1,
            hashlib.sha256(number.encode()).digest(), 1, 0, "", 0, 0,
        )  # fmt: skip
        self._address = names.addresses(self._row.subnet)
        self._token = number
        self._container = ""

    async def prepare(self) -> None:
        engine, peer, row = self._engine, self._install.install_id, self._row
        files = folder(self._install.data, row.id)
        await asyncio.to_thread(files.write_token, self._token)
        await asyncio.to_thread(files.write_config, openclaw.text(openclaw.render(row, self._install, [])))
        await networks.create(engine, peer, row.id, subnet=row.subnet)
        await networks.connect(engine, names.network(peer, row.id), self._install.edge, self._address.edge)
        await volumes.ensure(engine, peer, row.id)

    async def run(self) -> float:
        """Create, start, and wait until it is ready. Seconds."""
        body = create_body(self._row, self._install)
        body["Labels"] = {names.INSTALL: self._install.install_id}
        began = time.monotonic()
        self._container = await containers.create(self._engine, names.container(*self._names), body)
        return await self._start(began)

    async def start(self) -> float:
        """Start it again after `stop`, and wait until it is ready. Seconds."""
        return await self._start(time.monotonic())

    async def stop(self) -> None:
        await asyncio.sleep(YOUNG_MS / 1000)
        await containers.signal(self._engine, self._container, "SIGTERM")
        for _ in range(600):
            state = await self._engine.call(lambda api: api.inspect_container(self._container)["State"]["Status"])
            if state == "exited":
                return
            await asyncio.sleep(0.1)
        raise SetupError("the bare container did not end within a minute of SIGTERM")

    async def remove(self) -> None:
        await containers.remove(self._engine, self._container, force=True)

    @property
    def _names(self) -> tuple[str, str]:
        return self._install.install_id, self._row.id

    async def _start(self, began: float) -> float:
        await containers.start(self._engine, self._container)
        return await answers(self._probe, self._address.runtime) - began


async def answers(probe: Probe, address: str) -> float:
    """Wait until OpenClaw says there that it has started. Returns when that was, by the monotonic clock."""
    until = time.monotonic() + BOOT_LIMIT_S
    while not await probe(address):
        if time.monotonic() > until:
            raise SetupError(f"what runs at {address} was not ready within {BOOT_LIMIT_S} s")
        await asyncio.sleep(EVERY_S)
    return time.monotonic()
