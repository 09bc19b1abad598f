"""A front for each test, and one for all whose certificates come from an ACME authority: a renewal takes a minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from clawloops.model.certificate import Tls
from tests.standin.fixtures import docker_client, standin
from tests.tls.front import Front, opened_front
from tests.tls.pebble import HOST, Boxed, boxed, pebble_image

__all__ = ["docker_client", "standin"]


@pytest.fixture
def front(docker_client: docker.DockerClient, tmp_path: Path) -> Iterator[Front]:
    with opened_front(docker_client, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def pebble(docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of the test authority."""
    return pebble_image(docker_client, tmp_path_factory.mktemp("pebble"))


@pytest.fixture(scope="session")
def by_http(
    docker_client: docker.DockerClient, pebble: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Boxed]:
    with boxed(docker_client, pebble, tmp_path_factory.mktemp("http")) as made:
        made.front.render(Tls.ACME_HTTP, authority=made.authority.own_ca, **made.settings())
        made.front.hurry()
        made.authority.lead(HOST, "127.0.0.1")  # where nobody answers for it
        with made.front.running():
            yield made
