"""A place of its own in the real Docker Engine for each test, swept by label whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import docker
import pytest

from tests.standin.place import SOCKET, Place, standin_image


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(SOCKET)
    yield client
    client.close()


@pytest.fixture(scope="session")
def standin(docker_client: docker.DockerClient) -> str:
    return standin_image(docker_client)


@pytest.fixture
async def place(docker_client: docker.DockerClient, standin: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with opened(Place(docker_client, SOCKET, tmp_path, standin)) as made:
        yield made


@asynccontextmanager
async def opened(made: Place) -> AsyncIterator[Place]:
    """Open between `with` and its end, and swept whatever happens."""
    try:
        await made.open()
        yield made
    finally:
        await made.close()
        await asyncio.to_thread(made.sweep)


@pytest.fixture
def bridges_alone() -> Iterator[None]:
    """As on a host whose bridges do not ask iptables: there, Docker's own rules between networks stop nothing."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    before = switch.read_text() if switch.exists() else ""
    if before:
        switch.write_text("0")
    yield
    if before:
        switch.write_text(before)
