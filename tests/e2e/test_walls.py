"""Attacks 1 and 3 on the installed appliance: what a runtime can reach, also with every right over its own network.

The probes run in the runtime's network namespace as root of this host: that is NET_ADMIN, which no runtime has.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.appliance import docker
from tests.e2e.story import BOOT_LIMIT_S, Story
from tests.standin.fixtures import bridges_alone

__all__ = ["bridges_alone"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(300),
    pytest.mark.parametrize("story", ["http"], indirect=True),
]

PROBE = """
import asyncio, json, sys
async def opens(host, port, turn):
    async with turn:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 3)
        except (OSError, TimeoutError):
            return None
        writer.close()
        return [host, port]
async def main(wanted):
    turn = asyncio.Semaphore(500)
    found = await asyncio.gather(*(opens(host, port, turn) for host, port in wanted))
    print(json.dumps([each for each in found if each]))
asyncio.run(main(json.loads(sys.stdin.read())))
"""
FETCH = """
import http.client, json, sys
host, port, name = json.loads(sys.stdin.read())
asked = http.client.HTTPConnection(host, port, timeout=5)
asked.request("GET", "/", headers={"Host": name})
print(json.dumps(asked.getresponse().status))
"""

Place = tuple[str, int]


def _in(pid: int, *command: str, stdin: object = None) -> str:
    """A command of this host in the network namespace of a process."""
    inside = ["nsenter", "-t", str(pid), "-n", *command]
    done = subprocess.run(inside, input=json.dumps(stdin), capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def _open(pid: int, wanted: list[Place]) -> set[Place]:
    found = json.loads(_in(pid, sys.executable, "-c", PROBE, stdin=wanted))
    return {(host, port) for host, port in found}


def _pid(container: str) -> int:
    pid: int = json.loads(docker("inspect", container))[0]["State"]["Pid"]
    return pid


def _address(container: str, network: str) -> str:
    networks = json.loads(docker("inspect", container))[0]["NetworkSettings"]["Networks"]
    return str(next(each["IPAddress"] for name, each in networks.items() if name.endswith(network)))


@contextmanager
def _route(pid: int, via: str) -> Iterator[None]:
    """With this default route in place of the one that it has; Engine 20.10 gives it one to an address of nobody."""
    before = _in(pid, "ip", "route", "show", "default").split()
    _in(pid, "ip", "route", "replace", "default", "via", via)
    try:
        yield
    finally:
        _in(pid, "ip", "route", "del", "default")
        if before:
            _in(pid, "ip", "route", "add", *before)


@pytest.fixture
def awake(story: Story) -> Story:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    return story


@pytest.mark.attacks(3)
def test_of_all_ports_on_the_edge_two_are_open(awake: Story) -> None:
    story, pid = awake, _pid(awake.runtime)
    edge = _address(story.appliance.service("edge"), f"-u-{story.runtime_id}")
    assert _open(pid, [(edge, port) for port in range(1, 65536)]) == {(edge, 4000), (edge, 3128)}


@pytest.mark.attacks(1, 3)
def test_no_route_of_its_own_making_leads_a_runtime_out(awake: Story) -> None:
    story, pid = awake, _pid(awake.runtime)
    service = story.appliance.service
    edge = service("edge")
    own = f"-u-{story.runtime_id}"
    inspected = json.loads(docker("inspect", edge))[0]["NetworkSettings"]["Networks"]
    bridges = {each["Gateway"] for name, each in inspected.items() if "-u-" not in name and each["Gateway"]}
    with socket.create_server(("0.0.0.0", 0)) as host:
        port = host.getsockname()[1]
        there: list[Place] = [
            *((each, port) for each in sorted(bridges)),  # this host, as a container sees it
            (_address(service("litellm"), "_llm"), 4000),
        ]
        if story.has_ollama:
            there.append((_address(service("ollama"), "_models"), 11434))
        assert _open(_pid(edge), there) == set(there), "the control: from the edge all of them are open"
        closed: list[Place] = [
            *there,
            ("169.254.169.254", 80),
            *((_address(edge, own), each) for each in (8080, 8081, 8082, 8083)),
            *(("127.0.0.1", each) for each in (8081, 8082, 8083)),
        ]
        assert _open(pid, closed) == set()
        gateway = _address(edge, own).rpartition(".")
        for via in (_address(edge, own), f"{gateway[0]}.{int(gateway[2]) - 1}"):
            with _route(pid, via):
                assert _open(pid, closed) == set(), via


@pytest.mark.attacks(3)
def test_a_runtime_that_found_a_way_to_the_front_is_refused_there(awake: Story, bridges_alone: None) -> None:
    story, pid = awake, _pid(awake.runtime)
    edge = story.appliance.service("edge")
    front, dashboard = story.appliance.settings["CLAWLOOPS_EDGE_ADDRESS"], story.appliance.origin.split("/")[2]
    with _route(pid, _address(edge, f"-u-{story.runtime_id}")):
        for name in (dashboard, story.workspace.split("/")[2], "x"):
            status = json.loads(_in(pid, sys.executable, "-c", FETCH, stdin=[front, 8080, name]))
            assert status == 403, name
    answered = json.loads(_in(_pid(edge), sys.executable, "-c", FETCH, stdin=[front, 8080, dashboard]))
    assert answered == 401, "the control: whoever is not of the pool is asked to sign in"


@pytest.mark.attacks(1, 2)
@pytest.mark.long  # tests/orchestrator/test_canary.py does it in each run, with the stand-in
@pytest.mark.limit(600)
def test_an_edge_that_begins_to_forward_stops_the_workspaces_until_it_ends(awake: Story) -> None:
    story, member = awake, awake.member
    service = story.appliance.service

    def doctor() -> str:
        return docker("exec", service("clawloops"), "clawloops", "doctor", check=False)

    assert "ok    walls around workspaces" in doctor()
    edge = _pid(service("edge"))
    _in(edge, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    try:
        assert "FAIL  walls around workspaces: open: the edge passes packets on" in doctor()
        member.expect_state("Needs attention", limit_s=75)
    finally:
        _in(edge, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    member.expect_state("Ready", limit_s=60 + BOOT_LIMIT_S)
    assert "ok    walls around workspaces" in doctor()
