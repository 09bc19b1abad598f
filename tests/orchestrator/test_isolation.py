"""From inside a runtime: no capability, no way to the host, the edge and nothing else."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from clawloops.model.runtime import Phase
from clawloops.runtimes import names
from tests.standin.fixtures import bridges_alone
from tests.standin.place import Place

__all__ = ["bridges_alone"]

pytestmark = pytest.mark.docker

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.attacks(4)
async def test_a_runtime_has_no_privilege_and_can_write_only_where_it_must(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    status = await place.inside(runtime, "cat /proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert await place.inside(runtime, "id -u; hostname") == f"1000\noc-{runtime.id}"
    for read_only in ("/", "/etc/openclaw", "/run/clawloops", "/usr"):
        assert "Read-only" in await place.inside(runtime, f"touch {read_only}/x 2>&1")
    assert await place.inside(runtime, "touch /tmp/x /home/node/x && echo yes") == "yes"
    assert "not permitted" in await place.inside(runtime, "unshare -U true 2>&1")
    mode = "stat -c '%a %u' /run/clawloops/model-token /etc/openclaw/openclaw.json"
    assert await place.inside(runtime, mode) == "600 1000\n640 1000"


@pytest.mark.attacks(1)
async def test_a_runtime_reaches_the_edge_and_neither_the_host_nor_another_runtime(place: Place) -> None:
    runtime, other = await place.member(), await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.until(other, Phase.READY)
    address, edge = names.addresses(runtime.subnet), place.docker.containers.get(place.install.edge)

    async def opens(host: str, port: int) -> bool:
        line = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null && echo open"
        return await place.inside(runtime, line) == "open"

    serve = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 4000, Listen => 5) or die; sleep 60"
    await asyncio.to_thread(edge.exec_run, ["perl", "-e", serve], detach=True)
    async with asyncio.timeout(10):
        while not await opens(address.edge, 4000):
            await asyncio.sleep(0.1)
    assert await opens("clawloops-gateway", 4000)

    with socket.create_server(("0.0.0.0", 0)) as host:
        port = host.getsockname()[1]
        front = edge.attrs["NetworkSettings"]["Networks"][f"clawloops-{place.install_id}-front"]
        bridge = front["Gateway"]  # the host itself, as the edge sees it
        reached = await asyncio.to_thread(edge.exec_run, ["bash", "-c", f"exec 3<>/dev/tcp/{bridge}/{port}"])
        assert reached.exit_code == 0
        hosts = {bridge, address.gateway, *_own_addresses()}
        assert {each for each in hosts if await opens(each, port)} == set()
    assert not await opens(names.addresses(other.subnet).runtime, 18789)
    assert await place.inside(runtime, "grep nameserver /etc/resolv.conf") == "nameserver 127.0.0.11"
    assert await place.inside(runtime, "timeout 3 getent hosts example.org") == ""


@pytest.mark.attacks(2)
async def test_an_edge_that_forwards_nothing_keeps_a_runtime_with_every_right_from_another(
    place: Place, bridges_alone: None
) -> None:
    runtime, other = await place.member(), await place.member()
    await place.orchestrate()
    for each in (runtime, other):
        await place.until(each, Phase.READY)
    mine, theirs = (place.container(each).attrs["State"]["Pid"] for each in (runtime, other))
    edge = place.docker.containers.get(place.install.edge).attrs["State"]["Pid"]
    target = names.addresses(other.subnet).runtime
    # As NET_ADMIN would: root of this host, in the namespaces of the two.
    await _within(mine, "ip", "route", "replace", "default", "via", names.addresses(runtime.subnet).edge)
    await _within(theirs, "sh", "-c", "for each in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $each; done")

    async def arrives() -> bool:
        listening = asyncio.create_task(_within(theirs, sys.executable, "-c", LISTEN))
        await asyncio.sleep(1)
        for _ in range(5):
            await _within(mine, sys.executable, "-c", SEND, target)
            await asyncio.sleep(0.2)
        return "arrived" in await listening

    await _within(edge, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    assert await arrives(), "the control: an edge that forwards lets it pass"
    await _within(edge, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert not await arrives()
    assert 'net.ipv4.ip_forward: "0"' in (ROOT / "docker-compose.yml").read_text()


LISTEN = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
    mine.bind(("", 5353))
    mine.settimeout(4)
    try:
        print("arrived", mine.recvfrom(10))
    except TimeoutError:
        print("nothing")
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
    mine.sendto(b"x", (sys.argv[1], 5353))
"""


async def _within(pid: int, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "nsenter", "-t", str(pid), "-n", *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    return told.decode()


@pytest.mark.attacks(20)
async def test_one_that_forks_fills_and_floods_meets_its_own_limits(place: Place) -> None:
    runtime, other = await place.member(), await place.member()
    await place.orchestrate()
    for each in (runtime, other):
        await place.until(each, Phase.READY)
    # Processes: it runs out of its own, long before the host does.
    forked = await place.inside(
        runtime, "i=0; while sleep 20 & do i=$((i+1)); [ $i -lt 3000 ] || break; done 2>&1; echo $i"
    )
    assert "Cannot fork" in forked or "Resource temporarily unavailable" in forked or int(forked.split()[-1]) < 600
    await place.inside(other, "true")
    # Memory: what takes more than there is, is killed in there.
    assert (
        await place.inside(runtime, "perl -e '$x = \"a\" x (900 << 20); print length $x' 2>/dev/null; echo $?") != "0"
    )
    # Its log: kept in three files of 10 MB, whatever it writes.
    await place.inside(runtime, "head -c 60000000 /dev/zero | tr '\\0' 'x' | fold -w 1000 > /proc/1/fd/1")
    log = Path(place.container(runtime).attrs["LogPath"])
    kept = sum(each.stat().st_size for each in await asyncio.to_thread(lambda: list(log.parent.glob(f"{log.name}*"))))
    assert 0 < kept < 35_000_000, kept
    await place.until(other, Phase.READY)


def _own_addresses() -> set[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return set()
        return {probe.getsockname()[0]}
