"""From any state at all, doing what the plan says ends in what is wanted, and never with two containers at work."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawloops.model.runtime import Runtime, Sleep, Want
from clawloops.model.workspace import Hold
from clawloops.orchestrator import actions as a
from clawloops.orchestrator import plan as p
from clawloops.runtimes.seen import Container, Network, State

NAME = "clawloops-0a0a0a0a-u-r1"
MEMORY = 2**30
LOST = (State.REMOVING, State.DEAD)  # nobody can start these
NOW = 1_800_000_000_000
LIVE = "clawloops-0a0a0a0a-ws-r1-2"
TRASH = "clawloops-0a0a0a0a-ws-r1"
UP = p.Wanted(p.Aim.UP, NAME, "spec 3", MEMORY, LIVE)


@dataclass
class Docker:
    """A model of one runtime's corner of Docker, and of the rows and files that belong to it."""

    row: Runtime
    containers: dict[str, Container]
    network: Network | None
    image: bool
    config_ok: bool
    token_ok: bool
    folder: bool
    stubborn: bool  # ignores SIGTERM
    volume: bool = True
    hold: Hold = Hold.NONE
    squeeze: int | None = None
    idle: bool = False  # OpenClaw agrees that one with an older spec may be ended
    now: int = NOW
    made: int = 0
    sigterm: dict[str, int] = field(default_factory=dict)
    done: list[a.Action] = field(default_factory=list)

    @property
    def spec(self) -> str:
        return f"spec {self.row.generation}"

    @property
    def up(self) -> set[str]:
        return {each.id for each in self.containers.values() if each.state.up}

    def plan(self) -> list[a.Action]:
        draining = {each: self.now - since for each, since in self.sigterm.items()}
        return p.plan(self.row, self.world, self.wanted, now=self.now, draining=draining)

    @property
    def world(self) -> p.World:
        return p.World(
            list(self.containers.values()),
            self.network,
            self.image,
            self.config_ok,
            self.token_ok,
            self.folder,
            self.volume or bool(self.up),  # Docker removes no volume that is in use
        )

    @property
    def wanted(self) -> p.Wanted:
        return p.Wanted(p.aim(self.row, self.hold), NAME, self.spec, MEMORY, LIVE, self.squeeze, self.idle)

    def put(self, container_id: str, state: State) -> None:
        self.containers[container_id] = _told(replace(self.containers[container_id], state=state))

    def do(self, action: a.Action) -> None:
        self.done.append(action)
        match action:
            case a.MakeNetwork():
                assert self.network is None
                self.made += 1
                self.network = Network(f"n{self.made}", True, True, False)
            case a.RemoveNetwork(network):
                assert network.ours, "a network of somebody else was removed"
                self.network = None
                self.containers = {key: replace(each, network_id=None) for key, each in self.containers.items()}
            case a.ConnectEdge():
                assert self.network
                self.network = replace(self.network, edge=True)
            case a.WriteConfig():
                self.config_ok = self.folder = True
            case a.Create():
                assert self.image and self.volume
                assert not self.containers, "a second container was made"
                self.made += 1
                self.row = replace(self.row, generation=self.row.generation + 1)
                self.config_ok = self.token_ok = self.folder = True
                made = Container(f"c{self.made}", NAME, State.CREATED, self.spec, "", memory=MEMORY, volume=LIVE)
                self.containers[made.id] = made
            case a.Attach(container, network_id):
                self.containers[container] = replace(self.containers[container], network_id=network_id)
            case a.Start(container):
                assert not [each for each in self.containers.values() if each.state.up], "two would run"
                assert self.containers[container].memory == MEMORY, "it would run in a lowered limit"
                assert self.containers[container].volume == LIVE, "it would run on what is in the trash"
                assert self.network and self.containers[container].network_id in ("", self.network.id)
                self.containers[container] = replace(
                    self.containers[container], state=State.RUNNING, network_id=self.network.id
                )
            case a.Pause(container):
                assert self.containers[container].state is State.RUNNING
                self.put(container, State.PAUSED)
            case a.Limit(container, memory):
                lowered = memory < MEMORY
                assert not lowered or self.containers[container].state is State.PAUSED, "a running one was squeezed"
                self.containers[container] = _told(replace(self.containers[container], memory=memory))
            case a.Unpause(container):
                assert self.containers[container].memory >= MEMORY or self.containers[container].name != NAME
                self.put(container, State.RUNNING)
            case a.Stop(container):
                assert self.containers[container].state is not State.PAUSED, "a paused one hears no signal"
                self.sigterm[container] = self.now
            case a.Kill(container):
                assert self.now - self.sigterm.pop(container) > 330_000, "its turn was not over"
                self.put(container, State.EXITED)
            case a.Remove(container, force):
                gone = self.containers.pop(container)
                assert not gone.state.up, "a running one was removed"
                assert not force or gone.state is State.DEAD
                rest = [each for each in self.containers.values() if each.state not in LOST and each.volume == LIVE]
                replaceable = (
                    self.image or gone.volume != LIVE or rest or gone.state is State.DEAD or self.row.want is Want.GONE
                )
                assert replaceable, "what cannot be replaced was removed"
            case a.Forget():
                assert not self.containers
                self.folder = False
        self.sigterm = {each: since for each, since in self.sigterm.items() if each in self.up}

    def pass_time(self) -> None:
        self.now += 400_000 if self.sigterm and self.stubborn else 1000
        for each in list(self.containers.values()):
            if each.state is State.REMOVING:
                del self.containers[each.id]
            elif each.state is State.RESTARTING:
                self.put(each.id, State.EXITED)
            elif each.id in self.sigterm and not self.stubborn:
                del self.sigterm[each.id]
                self.put(each.id, State.EXITED)
        self.sigterm = {each: since for each, since in self.sigterm.items() if each in self.up}

    def settled(self) -> bool:
        moving = any(each.state in (State.REMOVING, State.RESTARTING) for each in self.containers.values())
        return not self.sigterm and not moving and not p.waiting(self.row, self.now)


def _row(want: Want, retry_at: int = 0, sleep: Sleep = Sleep.AWAKE) -> Runtime:
    return Runtime("r1", "u1", "slug", want, "10.0.0.0/29", 3, b"hash", 1, 0, "", retry_at, 0, sleep)


networks = st.none() | st.builds(Network, id=st.just("n0"), ours=st.booleans(), exact=st.booleans(), edge=st.booleans())


def _told(container: Container) -> Container:
    """As drift tells of it: another limit than promised is an edit, but for one that is lowered while paused."""
    lowered = container.memory != MEMORY and container.state is not State.PAUSED
    rest = tuple(each for each in container.edited if each != "Memory")
    return replace(container, edited=(*rest, "Memory") if lowered else rest)


found = st.lists(
    st.builds(
        Container,
        id=st.sampled_from(["a", "b", "c"]),
        name=st.sampled_from([NAME, "another"]),
        state=st.sampled_from(State),
        spec=st.sampled_from(["spec 3", "spec 2", ""]),
        network_id=st.sampled_from([None, "", "n0", "n-before"]),
        memory=st.sampled_from([MEMORY, MEMORY // 16]),
        volume=st.sampled_from([LIVE, LIVE, LIVE, TRASH]),
        edited=st.sampled_from([(), (), ("Privileged",), ("Image",)]),
    ).map(_told),
    max_size=3,
    unique_by=lambda each: each.id,
)
worlds = st.builds(
    Docker,
    row=st.builds(
        _row, st.sampled_from(Want), st.sampled_from([0, NOW - 5, NOW + 3000, NOW + 10**9]), st.sampled_from(Sleep)
    ),
    containers=found.map(lambda each: {container.id: container for container in each}),
    network=networks,
    image=st.booleans(),
    config_ok=st.booleans(),
    token_ok=st.booleans(),
    folder=st.booleans(),
    stubborn=st.booleans(),
    volume=st.sampled_from([True, True, False]),
    hold=st.sampled_from(Hold),
    squeeze=st.sampled_from([None, MEMORY // 16]),
    idle=st.booleans(),
)


@given(worlds)
@settings(max_examples=2000, deadline=None)
def test_from_any_state_the_steps_end_in_what_is_wanted(docker: Docker) -> None:
    up_before = sum(each.state.up for each in docker.containers.values())
    had_some = any(each.state not in LOST and each.volume == LIVE for each in docker.containers.values())
    for _ in range(200):
        if steps := docker.plan():
            docker.do(steps[0])
        elif docker.settled():
            break
        else:
            docker.pass_time()
        up = sum(each.state.up for each in docker.containers.values())
        assert up <= max(1, up_before)
    else:
        pytest.fail(f"no end after {docker.done}")
    _wanted(docker, had_some=had_some)


def _wanted(docker: Docker, *, had_some: bool) -> None:
    up = [each for each in docker.containers.values() if each.state.up]
    foreign = docker.network is not None and not docker.network.ours
    replaceable = docker.image and docker.volume
    assert len(docker.containers) <= 1
    match docker.wanted.aim:
        case p.Aim.GONE:
            assert not docker.containers
            assert not docker.folder or foreign
            assert docker.network is None or foreign
        case p.Aim.DOWN:
            assert not up
            assert docker.image or len(docker.containers) == had_some
        case p.Aim.PAUSED:
            assert a.Create() not in docker.done
            assert all(each.state is State.PAUSED for each in up)
            assert all(docker.squeeze is None or each.memory <= docker.squeeze for each in up)
        case p.Aim.UP if foreign or (not replaceable and not up):
            assert a.Create() not in docker.done
        case p.Aim.UP if not replaceable:
            assert len(docker.containers) == 1
        case p.Aim.UP:
            assert docker.network and docker.network.exact and docker.network.edge
            assert [(each.name, each.state, each.network_id) for each in up] == [
                (NAME, State.RUNNING, docker.network.id)
            ]
            assert not p.outdated(up[0], docker.wanted) or not docker.idle, "one that nobody uses keeps its old spec"
            assert not p.by_hand(up[0])
            assert docker.config_ok and docker.token_ok


@pytest.mark.parametrize(
    ("want", "sleep", "hold", "aim"),
    [
        (Want.RUNNING, Sleep.AWAKE, Hold.NONE, p.Aim.UP),
        (Want.RUNNING, Sleep.PAUSED, Hold.NONE, p.Aim.PAUSED),
        (Want.RUNNING, Sleep.STOPPED, Hold.NONE, p.Aim.DOWN),
        (Want.STOPPED, Sleep.AWAKE, Hold.NONE, p.Aim.DOWN),
        (Want.RUNNING, Sleep.AWAKE, Hold.QUIET, p.Aim.PAUSED),
        (Want.STOPPED, Sleep.AWAKE, Hold.QUIET, p.Aim.DOWN),
        (Want.RUNNING, Sleep.PAUSED, Hold.DOWN, p.Aim.DOWN),
        (Want.STOPPED, Sleep.AWAKE, Hold.UP, p.Aim.UP),
        (Want.GONE, Sleep.AWAKE, Hold.UP, p.Aim.GONE),
    ],
)
def test_work_goes_before_sleep_and_nothing_before_gone(want: Want, sleep: Sleep, hold: Hold, aim: p.Aim) -> None:
    assert p.aim(_row(want, sleep=sleep), hold) is aim


def test_a_runtime_as_wanted_needs_nothing() -> None:
    container = Container("a", NAME, State.RUNNING, "spec 3", "n0", memory=MEMORY, volume=LIVE)
    world = p.World([container], Network("n0", True, True, True), True, True, True, True)
    for now in (NOW, 0, NOW * 2):  # whatever the wall clock says
        assert p.plan(_row(Want.RUNNING), world, UP, now=now, draining={}) == []


def test_on_a_kernel_without_limits_none_is_put_back() -> None:
    container = Container("a", NAME, State.RUNNING, "spec 3", "n0", memory=0, volume=LIVE)
    world = p.World([container], Network("n0", True, True, True), True, True, True, True)
    assert p.plan(_row(Want.RUNNING), world, UP, now=NOW, draining={}) == []


@pytest.mark.parametrize("aim", [p.Aim.UP, p.Aim.DOWN, p.Aim.GONE, p.Aim.PAUSED])
def test_one_that_is_frozen_in_gvisor_gets_no_other_limit_before_it_goes_on(aim: p.Aim) -> None:
    frozen = Container("a", NAME, State.PAUSED, "spec 2", "n0", memory=MEMORY, volume=LIVE, is_rigid=True)
    network = Network("n0", True, True, True)
    wanted = replace(UP, aim=aim, memory=2 * MEMORY, squeeze=MEMORY // 2)
    for each in (frozen, replace(frozen, spec=wanted.spec), replace(frozen, memory=4 * MEMORY)):
        steps = p.plan(
            _row(Want.RUNNING), p.World([each], network, True, True, True, True), wanted, now=NOW, draining={}
        )
        assert not any(isinstance(step, a.Limit) for step in steps)


def test_without_its_sandbox_nothing_starts_and_nothing_is_removed_and_what_runs_goes_on() -> None:
    for spec, state in product(("spec 2", "spec 3"), (State.RUNNING, State.EXITED, State.PAUSED)):
        container = Container("a", NAME, state, spec, "n0", memory=MEMORY, volume=LIVE)
        network = Network("n0", True, True, True)
        world = p.World([container], network, True, True, True, True, sandbox=False)
        wanted = replace(UP, may_replace=True)
        steps = p.plan(_row(Want.RUNNING), world, wanted, now=NOW, draining={})
        assert steps == ([a.Unpause("a")] if state is State.PAUSED else [])
    empty = p.World([], Network("n0", True, True, True), True, True, True, True, sandbox=False)
    assert p.plan(_row(Want.RUNNING), empty, UP, now=NOW, draining={}) == []


def test_what_is_ending_still_ends_when_its_network_is_somebody_elses() -> None:
    container = Container("a", NAME, State.RUNNING, "spec 3", "n0", memory=MEMORY, volume=LIVE)
    world = p.World([container], Network("n0", False, True, True), True, True, True, True)
    steps = p.plan(_row(Want.RUNNING), world, UP, now=NOW, draining={"a": 331_000})
    assert steps == [a.Kill("a")]


def test_the_backoff_goes_from_one_second_to_five_minutes() -> None:
    assert [p.backoff_ms(n, jitter=0) for n in (1, 2, 3, 9, 10, 10_000)] == [
        1000,
        2000,
        4000,
        256_000,
        300_000,
        300_000,
    ]
    assert p.backoff_ms(5, jitter=1) == 12_800
    assert p.backoff_ms(1, jitter=1) == 1000


def test_a_clock_set_back_by_a_day_keeps_nobody_waiting() -> None:
    assert p.waiting(_row(Want.RUNNING, NOW + 2000), NOW)
    assert not p.waiting(_row(Want.RUNNING, NOW + 2000), NOW - 86_400_000)
