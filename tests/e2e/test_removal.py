"""`install.sh uninstall` leaves the members' files; `--purge` takes all of ours, and nothing of somebody else's."""

from __future__ import annotations

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


@pytest.mark.limit(1200)
def test_uninstall_keeps_the_files_and_purge_removes_all_of_ours_and_nothing_else(
    story: Story, other_install: str
) -> None:
    story.reach("opened")
    story.appliance.keep_logs()
    workspaces = [each for each in story.appliance.leftovers("volume") if "-ws-" in each]
    assert workspaces
    assert any(each.endswith("-u-canary") for each in story.appliance.leftovers("container"))

    story.appliance.uninstall()
    assert story.appliance.leftovers("container") == []
    assert story.appliance.leftovers("network") == []
    assert story.appliance.leftovers("volume") == workspaces
    assert (story.appliance.data / "keys" / "master.key").is_file()

    story.appliance.uninstall("--purge")
    for kind in ("container", "network", "volume"):
        assert story.appliance.leftovers(kind) == []
    assert not story.appliance.data.exists(), list(story.appliance.data.iterdir())

    assert docker("inspect", "-f", "{{.State.Running}}", other_install).strip() == "true"
    assert docker("volume", "ls", "-q", "--filter", f"name={other_install}").split() == [other_install]
    assert docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", other_install).startswith(
        f'{{"{other_install}"'
    )
    assert docker("image", "ls", "-q", "clawloops/clawloops"), "the images of another install must stay"
