"""From inside a runtime: no capability, no way to the host, the edge and nothing else."""

from __future__ import annotations

import asyncio
import socket

import pytest

from clawloops.model.runtime import Phase
from clawloops.runtimes import names
from tests.standin.place import Place

pytestmark = pytest.mark.docker


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


def _own_addresses() -> set[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return set()
        return {probe.getsockname()[0]}
