"""The benchmark itself, with numbers so small that it says nothing of speed: it runs, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest

from clawloops.runtimes import names
from tests.standin.fixtures import docker_client, standin

__all__ = ["docker_client", "standin"]

pytestmark = pytest.mark.docker
ROOT = Path(__file__).resolve().parents[2]


def _bench(*arguments: str) -> tuple[list[dict[str, Any]], str]:
    """What it found, and what it said meanwhile. Its verdict on speed is nobody's business here."""
    done = subprocess.run(
        [sys.executable, "-m", "clawloops", "bench", "lifecycle", "--quick", "--json", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stderr


def _left(client: docker.DockerClient, install_id: str) -> list[str]:
    mine: dict[str, Any] = {"label": f"{names.INSTALL}={install_id}"}
    there = [
        *client.containers.list(all=True, filters=mine, ignore_removed=True),
        *client.networks.list(filters=mine),
        *client.volumes.list(filters=mine),
    ]
    return [str(each.id) for each in there]


def test_every_part_is_measured_and_swept_up(docker_client: docker.DockerClient, standin: str) -> None:
    figures, said = _bench(
        *("--image", standin, "--standin", standin, "--rounds", "1", "--wakes", "2", "--runtimes", "3", "--idle", "1")
    )
    # What is promised, so that no gate is raised and no line is lost without anybody's notice.
    assert {each["name"].partition(" (")[0]: each["gate"] for each in figures if each["gate"] is not None} == {
        "open → ready / bare docker run": 1.10,
        "wake from stop / bare boot": 1.15,
        "wake from pause, p50": 150,
        "wake from pause, p99": 500,
        "idle control plane, 3 runtimes": 1,
        "full pass over 3 runtimes": 2,
        "memory of the control plane, 3 runtimes": 150,
        "restart of Traefik until a member is let in": 3,
        "restart until it serves again": 3,
        "restart until a member is let in": 3,
        "restart until the board shows all 3": 3,
        "runtimes disturbed by the restarts": 0,
    }
    assert next(each for each in figures if each["name"] == "runtimes disturbed by the restarts")["value"] == 0
    assert re.search(r"\d+ cores, .*Docker Engine \d", said), "it names the machine"
    installs = re.findall(r"install ([0-9a-f]{8}) and its peer ([0-9a-f]{8})", said)
    assert installs and [_left(docker_client, each) for each in installs[0]] == [[], []]


def test_a_wrong_image_is_told_in_a_sentence_and_nothing_is_left() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clawloops", "bench", "lifecycle", "--image", "clawloops/no-such:1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "clawloops/no-such:1" in done.stderr
