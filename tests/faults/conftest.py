"""A rig of its own for each test, in the real Docker Engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
