"""One install of the test's own in a real Docker Engine: edge, store, folder, orchestrator; all swept at the end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors

from clawloops.model.account import Role, User
from clawloops.model.runtime import Phase, Runtime, View, Want
from clawloops.orchestrator.admission import Gate
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.loop import Orchestrator
from clawloops.orchestrator.phase import SLOW_BOOT_MS
from clawloops.orchestrator.walls import Walls
from clawloops.runtimes import names
from clawloops.runtimes.client import Engine
from clawloops.runtimes.spec import Install
from clawloops.store import runtimes as rows
from clawloops.store import users
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from tests.standin.parts import NEVER, FromEdge, from_edge, orchestrator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOCKET = "unix:///var/run/docker.sock"


def standin_image(client: docker.DockerClient) -> str:
    """The stand-in's tag: built once for each content, then reused."""
    content = b"".join((HERE / name).read_bytes() for name in ("Dockerfile", "runtime.pl"))
    tag = f"clawloops/standin:{hashlib.sha256(content).hexdigest()[:12]}"
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        client.images.build(path=str(HERE), tag=tag, rm=True)
    return tag


@dataclass
class Tokens:
    """Records what the gateway's directory would hold."""

    admitted: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def set_runtime(self, token_hash: bytes, *, runtime_id: str, user_id: str, address: str) -> None:
        self.admitted[runtime_id] = (token_hash, address)

    def drop_runtime(self, runtime_id: str) -> None:
        self.admitted.pop(runtime_id, None)


class Place:
    def __init__(self, client: docker.DockerClient, url: str, data: Path, image: str) -> None:
        self.docker = client
        self.url = url
        self.install_id = secrets.token_hex(4)
        self.install = Install(
            install_id=self.install_id,
            data=str(data),
            edge=f"clawloops-{self.install_id}-edge",
            image=image,
            memory_mb=256,
            cpus=1.0,
        )
        self.image = image
        self.pool = _free_pool(client)
        self.subnets = list(self.pool.subnets(new_prefix=29))[:-1]  # the last one is the canary's
        self.tokens = Tokens()
        self.board = Board()
        self.rules = NEVER
        self.gate: Gate | None = None
        self.walls = Walls()
        self.trial_ms = SLOW_BOOT_MS
        self.engine = Engine(url)
        self.db: Database
        self.loop: Orchestrator | None = None

    async def open(self) -> None:
        self.db = await open_database(f"sqlite:///{self.install.data}/test.db")
        await migrate(self.db, backup_dir=Path(self.install.data))
        await asyncio.to_thread(self.make_edge)

    def make_edge(self) -> None:
        label = {names.MANAGED: "true", names.INSTALL: self.install_id}
        front = f"clawloops-{self.install_id}-front"
        if not self.docker.networks.list(names=[front]):
            pool = docker.types.IPAMPool(subnet=str(self.subnets.pop()))
            self.docker.networks.create(
                front, driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels=label
            )
        self.docker.containers.run(
            self.image,
            entrypoint=["sleep", "infinity"],
            name=self.install.edge,
            network=front,
            labels=label,
            init=True,
            detach=True,
            sysctls={"net.ipv4.ip_forward": "0"},
            restart_policy={"Name": "always"},
        )

    async def close(self) -> None:
        if self.loop is not None:
            await self.loop.stop()
        self.engine.close()
        await self.db.close()

    def sweep(self) -> None:
        """Whatever was made here. A copy that was cut off may still be at work in the Engine: it is waited for."""
        for _ in range(50):
            if not self._left():
                return
            time.sleep(0.2)
        raise AssertionError(f"this is left behind in Docker: {self._left()}")

    def _left(self) -> list[Any]:
        """Remove all that can be removed now, and tell what was there."""
        mine: dict[str, Any] = {"label": f"{names.INSTALL}={self.install_id}"}
        containers = self.docker.containers.list(all=True, filters=mine, ignore_removed=True)
        found: list[Any] = [
            *containers,
            *self.docker.networks.list(filters=mine),
            *self.docker.volumes.list(filters=mine),
        ]
        for each in found:
            with contextlib.suppress(docker.errors.APIError):  # going already, or in use by what is going
                each.remove(**({"force": True, "v": True} if each in containers else {}))
        return found

    async def orchestrate(self) -> Orchestrator:
        """A fresh orchestrator, as after a restart of the control plane. Whoever was there is left as it is."""
        self.loop = orchestrator(
            self.db,
            self.engine,
            self.tokens,
            install=self.install,
            probe=self.probe,
            control=FromEdge(self.docker, self.install.edge),
            rules=self.rules,
            gate=self.gate,
            board=self.board,
            walls=self.walls,
            trial_ms=self.trial_ms,
        )
        await self.loop.start()
        return self.loop

    async def member(self, want: Want = Want.RUNNING) -> Runtime:
        number = secrets.token_hex(8)
        await users.add(self.db, User("u" + number, number, "Ada", Role.MEMBER, "", None, 1))
        subnet = str(self.subnets.pop(0))
        row = Runtime("r" + number, "u" + number, "s" + number, want, subnet, 0, None, 1, 0, "", 0, 1)
        await rows.add(self.db, row)
        return row

    async def wish(self, runtime: Runtime, want: Want) -> None:
        row = await self.row(runtime)
        await rows.set_want(self.db, row, want)
        assert self.loop is not None
        self.loop.wake(runtime.id)

    async def row(self, runtime: Runtime) -> Runtime:
        row = await rows.get(self.db, runtime.id)
        assert row is not None
        return row

    async def until(self, runtime: Runtime, phase: Phase, *, seconds: float = 30) -> View:
        """Wait for a phase to be shown."""
        return await self.seen(runtime, lambda view: view.phase is phase, seconds=seconds)

    async def seen(self, runtime: Runtime, fits: Callable[[View], bool], *, seconds: float = 30) -> View:
        try:
            async with asyncio.timeout(seconds):
                with self.board.bus.subscribe(runtime.id) as views:
                    if fits(view := self.board.get(runtime.id)):
                        return view
                    async for view in views:
                        if fits(view):
                            return view
        except TimeoutError:
            pass
        raise AssertionError(f"after {seconds} s it is {self.board.get(runtime.id)}")

    def name(self, runtime: Runtime) -> str:
        return names.container(self.install_id, runtime.id)

    def container(self, runtime: Runtime) -> Any:
        return self.docker.containers.get(self.name(runtime))

    def containers(self, runtime: Runtime) -> list[Any]:
        label = f"{names.RUNTIME}={runtime.id}"
        return self.docker.containers.list(all=True, filters={"label": label}, ignore_removed=True)

    async def inside(self, runtime: Runtime, script: str, **options: Any) -> str:
        """Run a shell line inside the runtime, as its user."""
        result = await asyncio.to_thread(self.container(runtime).exec_run, ["bash", "-c", script], **options)
        return str(result.output.decode()).strip()

    async def probe(self, address: str) -> bool:
        return await from_edge(self.docker, self.install.edge, address)


def _free_pool(client: docker.DockerClient) -> ipaddress.IPv4Network:
    taken = [
        ipaddress.IPv4Network(pool["Subnet"])
        for network in client.networks.list()
        for pool in network.attrs["IPAM"]["Config"] or []
        if ":" not in pool.get("Subnet", ":")
    ]
    pools = [ipaddress.IPv4Network(f"10.213.{third}.0/24") for third in range(256)]
    return random.choice([pool for pool in pools if not any(pool.overlaps(each) for each in taken)])
