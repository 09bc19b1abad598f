"""What a self-test means: which answers are holes, which prove nothing, who is held and for how long."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest

from clawloops.errors import Unavailable
from clawloops.model.runtime import Runtime, Want
from clawloops.orchestrator import canary, walls
from clawloops.orchestrator.actions import Kill
from clawloops.orchestrator.canary import Said, judge, understood
from clawloops.orchestrator.plan import Aim, Wanted, World, opened, plan, shut
from clawloops.orchestrator.surroundings import Attempt, Expected, Surroundings, forwarding
from clawloops.orchestrator.walls import Finding, Verdict, Walls
from clawloops.runtimes import names
from clawloops.runtimes.seen import Container, Network, State
from clawloops.runtimes.spec import Install

POOL = ipaddress.IPv4Network("10.213.7.0/24")
DOOR = Attempt("the model gateway", "10.213.7.250", 4000, Expected.ANSWER)
HOST = Attempt("this host", "172.30.0.1", 22)
EDGE = Attempt("a port of the edge", "10.213.7.250", 8080, Expected.REFUSAL)
CLOSED = {("10.213.7.250", 4000): "open", ("172.30.0.1", 22): "silent", ("10.213.7.250", 8080): "refused"}
INSTALL = Install(install_id="0a0b0c0d", data="/d", edge="clawloops-0a0b0c0d-edge", image="clawloops/openclaw:1")


def _judged(said: Said) -> list[str]:
    return judge([DOOR, HOST, EDGE], said)


def test_even_a_refusal_is_a_way_but_not_on_the_edge_itself() -> None:
    assert _judged(Said(CLOSED, False, ())) == []
    for outcome in ("open", "refused"):
        assert _judged(Said({**CLOSED, ("172.30.0.1", 22): outcome}, False, ())) == ["this host (172.30.0.1 port 22)"]
    assert len(_judged(Said({**CLOSED, ("10.213.7.250", 8080): "open"}, False, ()))) == 1
    assert _judged(Said(CLOSED, True, ())) == ["names of the internet (example.org)"]
    assert _judged(Said(CLOSED, False, ("fe80::1 on eth0",))) == ["IPv6 (fe80::1 on eth0)"]


@pytest.mark.parametrize("outcome", ["silent", "refused", None])
def test_without_the_control_the_rest_proves_nothing(outcome: str | None) -> None:
    said = dict(CLOSED)
    if outcome is None:
        del said["10.213.7.250", 4000]
    else:
        said["10.213.7.250", 4000] = outcome
    with pytest.raises(Unavailable):
        _judged(Said(said, False, ()))
    said["172.30.0.1", 22] = "open"
    assert _judged(Said(said, False, ())) == ["this host (172.30.0.1 port 22)"], "a hole is one without it, too"


def test_an_answer_is_read_to_its_end_or_not_at_all() -> None:
    lines = b"tcp 10.0.0.1 22 silent\nname example.org answered\nipv6 fe80000000000000000000000000000a eth0\nend\n"
    assert understood(lines) == Said({("10.0.0.1", 22): "silent"}, True, ["fe80::a on eth0"])
    with pytest.raises(Unavailable, match="breaks off"):
        understood(lines.removesuffix(b"end\n"))
    assert understood(b"tcp 10.0.0.1 22 maybe\n\xff\xfe\nend\n") == Said({}, False, [])


async def test_a_canary_that_never_ends_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "ANSWERS_WITHIN_S", 1)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"tcp 10.0.0.1 22 silent\n")

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Unavailable, match="does not answer"):
        await canary.ask(lambda _, __: asyncio.open_connection("127.0.0.1", port), "10.0.0.1", [HOST])
    server.close()


def test_everybody_is_held_until_two_tests_in_a_row_end_well() -> None:
    notes: list[tuple[str, str, str]] = []
    watched = Walls(lambda *entry: notes.append(entry))
    assert watched.tested(Finding(Verdict.CLOSED)), "the first one: starts wait for it"
    assert not watched.tested(Finding(Verdict.CLOSED))
    assert watched.why("r1") == ""
    assert watched.tested(Finding(Verdict.OPEN, "a hole"))
    for verdict in (Verdict.CLOSED, Verdict.OPEN, Verdict.CLOSED, Verdict.UNTESTED, Verdict.CLOSED):
        assert not watched.tested(Finding(verdict, "a hole"))
        assert watched.why("r1") != "" and "a hole" in watched.alarm
    assert watched.tested(Finding(Verdict.CLOSED))
    assert (watched.why("r1"), watched.alarm) == ("", "")
    assert notes == [("isolation broken", "", "a hole"), ("isolation restored", "", "a hole")]


def test_a_test_that_cannot_be_made_holds_nobody() -> None:
    watched = Walls()
    watched.expect()
    assert watched.waits() != ""
    watched.tested(Finding(Verdict.UNTESTED, "no image"))
    assert (watched.waits(), watched.why("r1"), watched.alarm) == ("", "", "")


def test_one_with_an_open_network_is_held_alone_until_two_looks_apart_find_it_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000_000
    monkeypatch.setattr(walls, "steady_ms", lambda: now)
    watched = Walls()
    watched.saw("r1", "another container was put on its network")
    assert (watched.why("r1") != "", watched.why("r2")) == (True, "")
    for _ in range(5):
        watched.saw("r1", "")  # looks that follow one another at once are one
    assert watched.held == {"r1"}
    now += walls.APART_MS
    watched.saw("r1", "")
    assert watched.held == frozenset()


def test_one_that_waits_for_an_admin_is_not_let_go_by_a_test_or_by_being_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000_000
    monkeypatch.setattr(walls, "steady_ms", lambda: now)
    watched = Walls()
    watched.hold("r1", "its decoy was used")
    watched.saw("r1", "another container was put on its network")
    for _ in range(walls.PASSES):
        now += walls.APART_MS
        watched.saw("r1", "")
        watched.tested(Finding(Verdict.CLOSED))
    watched.forget("r1")
    assert watched.held == {"r1"}
    assert (watched.why("r1"), watched.why("r2")) == ("its decoy was used", "")
    assert watched.alarm == "", "no wall is open"
    watched.let_go("r1")
    watched.let_go("r2")
    assert (watched.held, watched.why("r1")) == (frozenset(), "")


def test_what_a_look_finds_open() -> None:
    mine = Container("a", "n", State.RUNNING, "s", "n0")
    edge = Network("n0", True, True, True, ("a", "e"), ("a",))

    def found(container: Container = mine, network: Network | None = edge) -> str:
        return opened(World([container], network, True, True, True, True))

    assert found() == found(network=None) == ""
    assert "another network (bridge)" in found(replace(mine, elsewhere=("bridge",)))
    assert "may lead out" in found(network=replace(edge, exact=False))
    assert "may lead out" in found(network=replace(edge, ours=False))
    assert "another container" in found(network=replace(edge, others=("a", "x")))
    assert "another container" in found(replace(mine, state=State.PAUSED), replace(edge, others=("a", "x")))
    assert found(replace(mine, state=State.EXITED), replace(edge, exact=False)) == "", "nobody is behind it"
    assert found(replace(mine, network_id="before"), replace(edge, exact=False)) == "", "it is not on it any more"


def test_while_a_wall_is_open_nothing_runs_and_what_is_frozen_stays_so() -> None:
    assert [shut(each, own=False) for each in Aim] == [Aim.DOWN, Aim.PAUSED, Aim.DOWN, Aim.GONE]
    assert [shut(each, own=True) for each in Aim] == [Aim.DOWN, Aim.DOWN, Aim.DOWN, Aim.GONE]


def test_one_that_is_frozen_and_must_end_is_killed_without_running_once_more() -> None:
    row = Runtime("r1", "u1", "s", Want.RUNNING, "10.213.7.0/29", 1, None, 1, 0, "", 0, 0)
    frozen = Container("a", "n", State.PAUSED, "s", "n0", volume="v", elsewhere=("bridge",))
    world = World([frozen], Network("n0", True, True, True), True, True, True, True)
    wanted = Wanted(Aim.DOWN, "n", "s", 0, "v", hurry=True)
    assert plan(row, world, wanted, now=0, draining={}) == [Kill("a")]


async def test_what_is_around_is_read_from_the_namespace_and_never_contains_the_canary_itself(tmp_path: Path) -> None:
    heading = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    (tmp_path / "route").write_text(
        heading
        + "eth0 00000000 01001EAC 0003 0 0 0 00000000 0 0 0\n"  # default via 172.30.0.1
        + "eth1 00001FAC 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"  # 172.31.0.0/24
        + "eth2 F807D50A 00000000 0001 0 0 0 F8FFFFFF 0 0 0\n"  # 10.213.7.248/29, the canary's
    )
    heading = "  sl  local_address rem_address   st\n"
    (tmp_path / "tcp").write_text(
        heading
        + "   0: 00000000:0FA0 00000000:0000 0A\n"  # 4000
        + "   1: 0100007F:1F91 00000000:0000 0A\n"  # 8081
        + "   2: 0100007F:1F92 0100007F:1F91 01\n"  # no listener
    )
    around = Surroundings(install=replace(INSTALL, base="127.0.0.1"), pool=POOL, hosts=["192.168.1.20"], net=tmp_path)
    attempts = await around.attempts(["10.213.7.0/29"])
    assert around.subnet == "10.213.7.248/29"
    own = names.addresses(around.subnet)
    assert attempts[0] == Attempt("the model gateway", own.edge, 4000, Expected.ANSWER)
    hosts = {each.address for each in attempts if each.what == "this host"}
    assert hosts >= {own.gateway, "172.30.0.1", "172.31.0.1", "192.168.1.20"}
    assert [each.port for each in attempts if each.expected is Expected.REFUSAL] == [8081]
    assert {"10.213.7.3", "10.213.7.2"} <= {each.address for each in attempts}
    assert not {own.runtime, "127.0.0.1"} & {each.address for each in attempts}
    assert len(await around.attempts([str(each) for each in POOL.subnets(new_prefix=29)])) < 400, "what a canary takes"


def test_an_edge_that_forwards_on_one_interface_is_found(tmp_path: Path) -> None:
    for name in ("all", "eth0", "eth1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "forwarding").write_text("0\n")
    assert forwarding(tmp_path) == []
    (tmp_path / "eth1" / "forwarding").write_text("1\n")
    assert forwarding(tmp_path) == ["eth1"]
