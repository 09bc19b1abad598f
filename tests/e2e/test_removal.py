"""`install.sh uninstall` leaves the members' files; `--purge` takes all of ours, and nothing of somebody else's."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.appliance import docker
from tests.e2e.browser import CHROMIUM
from tests.e2e.story import Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="this machine has no package named chromium"),
]


@pytest.fixture
def neighbour(story: Story) -> Iterator[str]:
    """Somebody else's container, network and volume, of one name."""
    name = f"neighbour-{secrets.token_hex(4)}"
    story.reach("installed")
    image = docker("inspect", "-f", "{{.Image}}", story.appliance.service("edge")).strip()
    docker("network", "create", name)
    docker("run", "-d", "--name", name, "--network", name, "-v", f"{name}:/kept", image)
    try:
        yield name
    finally:
        docker("rm", "-f", name, check=False)
        docker("volume", "rm", name, check=False)
        docker("network", "rm", name, check=False)


@pytest.mark.limit(1200)
def test_uninstall_keeps_the_files_and_purge_removes_all_of_ours_and_nothing_else(story: Story, neighbour: str) -> None:
    story.reach("opened")
    story.appliance.keep_logs()
    volumes = story.appliance.leftovers("volume")
    assert volumes

    story.appliance.uninstall()
    assert story.appliance.leftovers("container") == []
    assert story.appliance.leftovers("network") == []
    assert story.appliance.leftovers("volume") == volumes
    assert (story.appliance.data / "secrets").is_dir()

    story.appliance.uninstall("--purge")
    for kind in ("container", "network", "volume"):
        assert story.appliance.leftovers(kind) == []
    assert not (story.appliance.data / "secrets").exists()

    assert docker("inspect", "-f", "{{.State.Running}}", neighbour).strip() == "true"
    assert docker("volume", "ls", "-q", "--filter", f"name={neighbour}").split() == [neighbour]
