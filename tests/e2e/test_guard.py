"""The appliance as it is installed: who holds the Docker socket, what a control plane that was taken over can do with
its own, and what becomes of everybody when the guard is killed.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.appliance import docker
from tests.e2e.story import BOOT_LIMIT_S, CHAT_LIMIT_S, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(400),
    pytest.mark.parametrize("story", ["http"], indirect=True),
]

PARTS = ("edge", "guard", "traefik", "clawloops", "litellm")

ASK = """
import http.client, json, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
asked = Unix("docker")
asked.request(sys.argv[2], sys.argv[3], sys.argv[4] or None, {"Content-Type": "application/json"})
answer = asked.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""


GUARD = """
import os, pathlib, signal, sys
for each in pathlib.Path("/proc").glob("[0-9]*"):
    if b"clawloops.guard" in (each / "cmdline").read_bytes() and each.name not in ("1", str(os.getpid())):
        if sys.argv[1] == "kill":
            os.kill(int(each.name), signal.SIGKILL)
        else:
            print(next(line for line in (each / "status").read_text().splitlines() if sys.argv[1] in line))
"""
"""Run in the guard's container: kills its process, or prints a line of its status."""


def ask(container: str, socket: str, method: str, path: str, body: object = None) -> tuple[int, str]:
    """One request from inside a container of the appliance that has Python."""
    text = "" if body is None else json.dumps(body)
    status, told = json.loads(docker("exec", container, "python3", "-c", ASK, socket, method, path, text))
    return int(status), str(told)


@pytest.mark.attacks(5, 6)
def test_nobody_but_the_guard_has_the_docker_socket_and_that_one_has_no_network(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    rows = {part: json.loads(docker("inspect", story.appliance.service(part)))[0] for part in PARTS}
    holders = {
        part for part, row in rows.items() if any(mount["Source"].endswith("docker.sock") for mount in row["Mounts"])
    }
    assert holders == {"guard"}
    guard = rows["guard"]
    assert guard["HostConfig"]["NetworkMode"] == "none"
    assert (guard["HostConfig"]["CapDrop"], guard["HostConfig"]["ReadonlyRootfs"]) == (["ALL"], True)
    named = docker("exec", guard["Id"], "sh", "-c", "ls /sys/class/net").split()
    assert named == ["lo"]
    # Each sees its own socket, and not the other's.
    assert docker("exec", rows["clawloops"]["Id"], "ls", "/run/guard").split() == ["engine"]
    assert docker("exec", rows["traefik"]["Id"], "ls", "/run/guard").split() == ["routes"]
    resident = docker("exec", guard["Id"], "python3", "-c", GUARD, "VmRSS").split()
    story.figures["memory of the guard, MB"] = int(resident[1]) / 1024


@pytest.mark.attacks(5)
def test_a_control_plane_that_was_taken_over_gets_no_other_container_and_reads_no_other(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    control, socket = story.appliance.service("clawloops"), "/run/guard/engine/docker.sock"
    evil = {"Image": story.appliance.settings["CLAWLOOPS_IMAGE_CLAWLOOPS"], "HostConfig": {"Binds": ["/:/host"]}}
    status, told = ask(control, socket, "POST", "/v1.41/containers/create?name=evil", evil)
    assert (status, "the guard refuses this" in told) == (403, True)
    litellm = story.appliance.service("litellm")
    for method, path in (
        ("GET", f"/v1.41/containers/{litellm}/json"),
        ("GET", f"/v1.41/containers/{litellm}/archive?path=/run/secrets"),
        ("POST", f"/v1.41/containers/{litellm}/exec"),
        ("DELETE", f"/v1.41/containers/{story.appliance.service('guard')}?force=1"),
    ):
        assert ask(control, socket, method, path)[0] == 403, path
    status, told = ask(control, socket, "GET", f"/v1.41/containers/{story.runtime}/json")
    assert (status, json.loads(told)["State"]["Status"]) == (200, "running")
    assert "evil" not in docker("ps", "-a", "--format", "{{.Names}}").split()


@pytest.mark.attacks(5)
def test_a_control_plane_that_was_taken_over_puts_nothing_where_others_look(story: Story) -> None:
    """The Engine follows a link that is put in place of what a container mounts, at that container's next start."""
    story.reach("chatted through LiteLLM")
    control, data = story.appliance.service("clawloops"), str(story.appliance.data)
    held = set(docker("exec", control, "ls", "-A", data).split())
    assert held >= {"keys", "runtimes", "secrets", "tls"}
    assert not held & {".env", "traefik", "authority", "acme", "ollama", "postgres"}
    assert docker("exec", control, "ls", "-A", f"{data}/keys").split() == ["master.key"]
    for name in ("tls", "secrets", "runtimes", "keys"):
        told = docker(
            "exec", control, "sh", "-c", f"mv {data}/{name} {data}/aside 2>&1; ls -d {data}/{name}", check=False
        )
        assert "busy" in told and f"{data}/{name}" in told, told
    for name in ("tls", "secrets"):
        told = docker("exec", control, "sh", "-c", f"touch {data}/{name}/x 2>&1 || true")
        assert "Read-only" in told, told


def test_a_guard_that_is_killed_is_missed_by_nobody_who_works(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    guard = story.appliance.service("guard")
    started = _state(guard)["StartedAt"]
    # The container ends with its process, and may take the killer along: what came of it is seen by its next start.
    docker("exec", guard, "python3", "-c", GUARD, "kill", check=False)
    story.member.page.goto(story.workspace)
    story.chat.wait_until_back(BOOT_LIMIT_S)
    assert "cloud39" in story.chat.ask("Is everything all right?", CHAT_LIMIT_S).text
    until = time.monotonic() + 60
    while _state(guard)["StartedAt"] == started or not _state(guard)["Running"]:
        assert time.monotonic() < until, "Docker does not start it again"
        time.sleep(0.2)
    story.member.stop()
    story.member.expect_state("Stopped", limit_s=BOOT_LIMIT_S)
    story.member.start_and_wait(BOOT_LIMIT_S)
    assert "ok    Docker Engine" in docker(
        "exec", story.appliance.service("clawloops"), "clawloops", "doctor", check=False
    )


def _state(container: str) -> dict[str, object]:
    state: dict[str, object] = json.loads(docker("inspect", container))[0]["State"]
    return state
