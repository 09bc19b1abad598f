"""A rig of its own for each test, in the real Docker Engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import docker
import pytest

from tests.faults.rig import Rig
from tests.standin.fixtures import docker_client, place, standin
from tests.standin.place import SOCKET

__all__ = ["docker_client", "place", "standin"]


@pytest.fixture
async def rig(docker_client: docker.DockerClient, standin: str, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(docker_client, SOCKET, tmp_path, standin) as made:
        yield made


@pytest.fixture
async def three(docker_client: docker.DockerClient, standin: str, tmp_path: Path) -> AsyncIterator[list[Rig]]:
    """Three rigs, for stories that mostly wait and can do so side by side."""
    async with AsyncExitStack() as stack:
        made = []
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            rig = Rig(docker_client, SOCKET, tmp_path / str(number), standin)
            made.append(await stack.enter_async_context(rig))
        yield made
