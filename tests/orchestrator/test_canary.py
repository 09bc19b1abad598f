"""The standing canary on a real Engine: each test sees the walls closed first, then opens one, then mends it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import docker
import pytest

from clawloops.model.runtime import Phase, Sleep
from clawloops.orchestrator.canary import ask
from clawloops.orchestrator.walls import Verdict
from clawloops.runtimes import bodies, names
from clawloops.store import runtimes as rows
from tests.orchestrator.watched import Watched, on_host, watched_place
from tests.standin.fixtures import bridges_alone
from tests.standin.namespace import dial_from, entered, socket_in
from tests.standin.place import Place

__all__ = ["bridges_alone"]

pytestmark = pytest.mark.docker


@pytest.fixture
async def watched(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """With rounds that follow one another; a round itself takes up to four seconds."""
    monkeypatch.setattr("clawloops.orchestrator.canary.EVERY_S", 0.5)
    monkeypatch.setattr("clawloops.orchestrator.canary.SOON_S", 0.5)
    async with watched_place(place) as made:
        yield made


@contextlib.contextmanager
def bridge_address(watched: Watched) -> Iterator[None]:
    """As with an Engine that ignores `inhibit_ipv4`: this host has the gateway's address on the canary's bridge."""
    address, bridge = f"{names.addresses(watched.around.subnet).gateway}/29", watched.bridge()
    on_host("ip", "addr", "add", address, "dev", bridge)
    try:
        yield
    finally:
        on_host("ip", "addr", "del", address, "dev", bridge)


@pytest.mark.attacks(1, 2)
async def test_on_a_healthy_box_every_wall_is_closed_and_runtimes_start(watched: Watched, bridges_alone: None) -> None:
    place = watched.place
    runtime = await place.member()
    watched.begin()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    assert await watched.until(Verdict.CLOSED) == ""
    attempts = await watched.around.attempts([runtime.subnet])
    front = place.docker.networks.get(f"clawloops-{place.install_id}-front").attrs["IPAM"]["Config"][0]["Subnet"]
    tried = {each.address for each in attempts}
    own = names.addresses(watched.around.subnet)
    assert {own.gateway, "169.254.169.254", "1.1.1.1", names.addresses(runtime.subnet).runtime} <= tried
    assert any(each.startswith(front.rpartition(".")[0]) for each in tried), "this host, as the edge sees it"
    said = await ask(dial_from(watched.pid), watched.address, attempts)
    assert len(said.outcomes) == len({(each.address, each.port) for each in attempts})
    assert [key for key, outcome in said.outcomes.items() if outcome == "open"] == [(own.edge, 4000)]
    settings = watched.container().attrs["HostConfig"]
    assert settings["Memory"] <= 64 << 20 and settings["CapDrop"] == ["ALL"] and not settings["Binds"]
    assert watched.notes == []


@pytest.mark.attacks(1)
async def test_a_way_to_this_host_stops_everybody_and_they_come_back_when_it_is_closed(watched: Watched) -> None:
    place = watched.place
    runtime, other = await place.member(), await place.member()
    watched.begin()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.until(other, Phase.READY)
    on_host("ip", "addr", "add", "169.254.169.254/32", "dev", "lo")  # the cloud's metadata, as this host has none
    try:
        with socket.create_server(("169.254.169.254", 80)):
            await watched.until(Verdict.CLOSED)
            began = time.monotonic()
            with bridge_address(watched):
                why = await watched.until(Verdict.OPEN)
                assert "this host" in why
                attempts = await watched.around.attempts([])
                said = await ask(dial_from(watched.pid), watched.address, attempts)
                assert said.outcomes["169.254.169.254", 80] == "open", "the control: it is there to be reached"
                for each in (runtime, other):
                    view = await place.seen(each, lambda view: view.phase is Phase.DEGRADED)
                    assert "a self-test found a way out" in view.reason and view.address is None
                    await watched.ended(each)
                assert time.monotonic() - began < 75
                await place.wish(runtime, (await place.row(runtime)).want)
                await watched.until(Verdict.OPEN)
                assert place.container(runtime).status == "exited", "whatever its member wishes"
    finally:
        on_host("ip", "addr", "del", "169.254.169.254/32", "dev", "lo")
    for each in (runtime, other):
        await place.until(each, Phase.READY)
    assert [(action, who) for action, who, _ in watched.notes] == [("isolation broken", ""), ("isolation restored", "")]


@pytest.mark.attacks(1)
async def test_names_of_the_internet_and_ipv6_are_ways_out_as_well(watched: Watched) -> None:
    watched.begin()
    await watched.until(Verdict.CLOSED)
    resolver = socket_in(watched.pid, kind=socket.SOCK_DGRAM)
    resolver.bind(("0.0.0.0", 53))
    resolver.setblocking(False)
    asyncio.get_running_loop().add_reader(resolver, _resolve, resolver)
    try:
        assert "names of the internet" in await watched.until(Verdict.OPEN)
    finally:
        asyncio.get_running_loop().remove_reader(resolver)
        resolver.close()
    await watched.until(Verdict.CLOSED)

    def enable_ipv6() -> None:
        with entered(watched.process()), open("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "w") as file:
            file.write("0")

    await asyncio.to_thread(enable_ipv6)
    assert "IPv6 (fe80" in await watched.until(Verdict.OPEN)


def _resolve(resolver: socket.socket) -> None:
    """Every name has the address 192.0.2.1 (RFC 1035, 4.1)."""
    query, client = resolver.recvfrom(1500)
    head = query[:2] + bytes.fromhex("8180 0001 0001 0000 0000")
    answer = bytes.fromhex("c00c 0001 0001 0000003c 0004") + socket.inet_aton("192.0.2.1")
    question = query[12 : query.index(b"\0", 12) + 5]
    resolver.sendto(head + question + answer, client)


@pytest.mark.attacks(2)
async def test_an_edge_that_begins_to_forward_stops_everybody(watched: Watched) -> None:
    place = watched.place
    runtime = await place.member()
    watched.begin()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)

    def forward(value: str) -> None:
        with entered(watched.pid), open("/proc/sys/net/ipv4/ip_forward", "w") as file:
            file.write(value)

    await asyncio.to_thread(forward, "1")
    assert "passes packets on" in await watched.until(Verdict.OPEN)
    await watched.ended(runtime)
    await asyncio.to_thread(forward, "0")
    await place.until(runtime, Phase.READY)


@pytest.mark.attacks(1)
@pytest.mark.parametrize("lost", ["inhibit_ipv4", "internal"])
async def test_a_network_that_was_made_again_by_hand_stops_its_runtime_until_it_is_right(
    watched: Watched, lost: str
) -> None:
    place = watched.place
    runtime, other = await place.member(), await place.member()
    watched.begin()
    loop = await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.until(other, Phase.READY)
    started = place.container(other).attrs["State"]["StartedAt"]
    await loop.stop()
    await asyncio.to_thread(_made_by_hand, watched, runtime.id, runtime.subnet, lost)
    await place.orchestrate()
    view = await place.seen(runtime, lambda view: view.phase is Phase.DEGRADED)
    assert "may lead out" in view.reason
    await watched.ended(runtime)
    await place.until(runtime, Phase.READY)
    made = watched.network(runtime.id).attrs
    assert (made["Internal"], made["Options"]) == (True, {bodies.INHIBIT: "true"})
    assert [(action, who) for action, who, _ in watched.notes] == [
        ("isolation broken", runtime.id),
        ("isolation restored", runtime.id),
    ]
    assert place.container(other).attrs["State"]["StartedAt"] == started, "it has nothing to do with it"


def _made_by_hand(watched: Watched, runtime_id: str, subnet: str, lost: str) -> None:
    place, before, address = watched.place, watched.network(runtime_id), names.addresses(subnet)
    for member in before.attrs["Containers"] or watched.network(runtime_id).attrs["Containers"]:
        before.disconnect(member, force=True)
    before.remove()
    pool = docker.types.IPAMPool(subnet=subnet, gateway=address.gateway)
    made = place.docker.networks.create(
        names.network(place.install_id, runtime_id),
        internal=lost != "internal",
        options={} if lost == "inhibit_ipv4" else {bodies.INHIBIT: "true"},
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        labels=names.labels(place.install_id, runtime_id),
    )
    made.connect(place.install.edge, ipv4_address=address.edge)
    made.connect(names.container(place.install_id, runtime_id), ipv4_address=address.runtime)


@pytest.mark.attacks(2)
async def test_a_stranger_on_a_members_network_stops_that_runtime_and_is_put_off_it(watched: Watched) -> None:
    place = watched.place
    runtime, other = await place.member(), await place.member()
    watched.begin()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.until(other, Phase.READY)
    started = place.container(other).attrs["State"]["StartedAt"]
    stranger = await asyncio.to_thread(
        place.docker.containers.run,
        place.image,
        entrypoint=["sleep", "infinity"],
        init=True,
        detach=True,
        labels={names.MANAGED: "true", names.INSTALL: place.install_id},
    )
    await asyncio.to_thread(watched.network(runtime.id).connect, stranger)
    view = await place.seen(runtime, lambda view: view.phase is Phase.DEGRADED)
    assert "another container was put on its network" in view.reason
    await watched.ended(runtime)
    await place.until(runtime, Phase.READY)
    stranger.reload()
    assert stranger.status == "running", "unknown containers are told, never ended"
    assert list(stranger.attrs["NetworkSettings"]["Networks"]) == ["bridge"]
    assert place.container(other).attrs["State"]["StartedAt"] == started


async def test_a_canary_that_is_killed_removed_or_changed_comes_back_as_it_was(watched: Watched) -> None:
    watched.begin()
    await watched.until(Verdict.CLOSED)
    await asyncio.to_thread(watched.container().kill)
    await watched.until(Verdict.CLOSED)
    assert watched.container().status == "running"
    await asyncio.to_thread(lambda: watched.container().remove(force=True))
    await watched.until(Verdict.CLOSED)
    before = watched.container().id
    await asyncio.to_thread(watched.container().update, mem_limit="60m", memswap_limit="120m")
    await watched.until(Verdict.CLOSED)
    assert watched.container().id != before
    await asyncio.to_thread(watched.network().disconnect, watched.place.install.edge, force=True)
    await watched.until(Verdict.CLOSED)
    assert watched.notes == []


@pytest.mark.parametrize("trouble", ["it says nothing", "the gateway is not there", "there is no image"])
async def test_a_test_that_proves_nothing_is_told_and_stops_nobody(
    watched: Watched, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawloops.orchestrator.canary.ANSWERS_WITHIN_S", 7)
    place = watched.place
    runtime = await place.member()
    watched.begin()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await watched.until(Verdict.CLOSED)
    match trouble:
        case "it says nothing":
            await asyncio.to_thread(lambda: on_host("kill", "-STOP", str(watched.process())))
            said = "does not answer"
        case "the gateway is not there":
            await watched.close_door()
            said = "does not even reach the model gateway"
        case _:
            await watched.end()
            place.install = replace(place.install, image="clawloops/openclaw:none")
            await rows.put(place.db, replace(await place.row(runtime), pin=place.image))
            await asyncio.to_thread(lambda: watched.container().remove(force=True))
            watched.begin()
            await place.orchestrate()
            said = "clawloops/openclaw:none is not on this host as we make it"
    await watched.wait(lambda: said in place.walls.last.why)
    assert place.walls.last.verdict is Verdict.UNTESTED
    assert place.container(runtime).status == "running"
    assert watched.notes == []
    if trouble == "it says nothing":
        await watched.until(Verdict.CLOSED)  # with another one in its place


async def test_a_frozen_runtime_stays_frozen_behind_open_walls_whoever_comes(watched: Watched) -> None:
    place = watched.place
    runtime = await place.member()
    watched.begin()
    loop = await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await rows.put(place.db, replace(await place.row(runtime), sleep=Sleep.PAUSED))
    loop.wake(runtime.id)
    await place.until(runtime, Phase.PAUSED)
    with bridge_address(watched):
        await place.seen(runtime, lambda view: view.phase is Phase.DEGRADED)
        await loop.rouse(runtime.id, "somebody came")
        await watched.until(Verdict.OPEN)
        assert place.container(runtime).status == "paused"
    await place.until(runtime, Phase.PAUSED)
    await loop.rouse(runtime.id, "somebody came")
    await place.until(runtime, Phase.READY)


async def test_one_that_takes_its_time_to_end_is_killed_when_its_network_is_open(watched: Watched) -> None:
    place = watched.place
    runtime = await place.member()
    loop = await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo 300 > /home/node/drain-s")
    bridge = place.docker.networks.get("bridge")
    await asyncio.to_thread(bridge.connect, place.name(runtime))
    began = time.monotonic()
    loop.wake(runtime.id)  # no event tells of a network that is not ours; a look comes within 30 s
    view = await place.seen(runtime, lambda view: view.phase is Phase.DEGRADED)
    assert "put on another network (bridge)" in view.reason
    before = place.container(runtime).id
    await place.until(runtime, Phase.READY, seconds=40)
    assert place.container(runtime).id != before
    assert time.monotonic() - began < 25


async def test_a_start_waits_for_the_first_test_and_not_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawloops.orchestrator.walls.FIRST_TEST_MS", 4000)
    runtime = await place.member()
    place.walls.expect()
    await place.orchestrate()
    view = await place.until(runtime, Phase.QUEUED)
    assert "are being tested first" in view.reason
    await place.until(runtime, Phase.READY)
