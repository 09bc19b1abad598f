"""A place in the real Docker Engine whose calls all go through a guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import docker
import pytest
from yarl import URL

from clawloops.guard.__main__ import listen
from clawloops.guard.doors import control_door, traefik_door
from clawloops.guard.engine import Engine
from clawloops.guard.policy import Policy
from tests.standin.fixtures import docker_client, opened, standin
from tests.standin.place import SOCKET, Place

__all__ = ["docker_client", "standin"]


@dataclass
class Asked:
    """What a socket answered."""

    status: int
    told: Any

    @property
    def why(self) -> str:
        return str(self.told["message"]) if isinstance(self.told, dict) else ""


async def ask(socket: Path, method: str, path: str, **given: Any) -> Asked:
    """One request, as somebody speaks who has taken over the control plane or Traefik: the path as it is."""
    connector = aiohttp.UnixConnector(path=str(socket))
    async with (
        asyncio.timeout(20),
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, URL(f"http://docker{path}", encoded=True), **given) as answer,
    ):
        read = await answer.read()
        is_json = answer.content_type == "application/json" and read
        return Asked(answer.status, await answer.json() if is_json else read)


class Guarded:
    """A guard for one install, at sockets in a folder. `policy` may be put in place once the install is known."""

    def __init__(self, folder: Path) -> None:
        self.control = folder / "control.sock"
        self.traefik = folder / "traefik.sock"

    async def open(self, stack: AsyncExitStack, policy: Policy, engine: str) -> None:
        behind = Engine(Path(engine.removeprefix("unix://")))
        stack.push_async_callback(behind.close)
        await listen(stack, control_door(policy, behind), self.control)
        await listen(stack, traefik_door(policy, behind), self.traefik)


@pytest.fixture
async def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


@pytest.fixture
async def place(
    docker_client: docker.DockerClient, standin: str, tmp_path: Path, guarded: Guarded
) -> AsyncIterator[Place]:
    made = Place(docker_client, f"unix://{guarded.control}", tmp_path, standin)
    async with AsyncExitStack() as stack:
        await guarded.open(stack, Policy(install=made.install, pool=made.pool), SOCKET)
        yield await stack.enter_async_context(opened(made))
