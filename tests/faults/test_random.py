"""Whatever a hand, a crash and a member do to one runtime in whatever order: it ends as wanted, or says what is wrong.

20 sequences in `tests/run`, 200 in `tests/run faults`; each failure prints its sequence.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Part
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from clawloops.clock import now_ms
from clawloops.model.runtime import Phase, Runtime, Sleep, Want
from clawloops.model.workspace import Job, JobState, Task
from clawloops.store import jobs
from tests.faults.rig import SEQUENCES, WITHIN_S, Rig, Target
from tests.standin.place import SOCKET

LANES = 4
OPENING = threading.Lock()  # each looks for subnets that nobody has
pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.limit(120 + 15 * SEQUENCES)]

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
LEVELS: list[Target] = [Want.RUNNING, Want.RUNNING, Want.RUNNING, Want.STOPPED, Sleep.PAUSED, Sleep.STOPPED, Want.GONE]
# Everything that a hand does: in the middle of whatever goes on, or once that is over.
deed = rule(after=st.booleans())


class Life(RuleBasedStateMachine):
    """One runtime, from a wish to its end."""

    numbers = itertools.count()

    def __init__(self, rig: Rig, runtime: Runtime, run: Run[Any]) -> None:
        super().__init__()
        self._rig, self._runtime, self._run = rig, runtime, run
        self._target: Target = Want.GONE

    @property
    def _container(self) -> Any:
        found = self._rig.place.containers(self._runtime)
        if not found:
            raise docker.errors.NotFound("there is none now")
        return found[0]

    @contextlib.contextmanager
    def _by_hand(self, *, after: bool) -> Iterator[None]:
        """The loop may be quicker than the hand: what is not there (any more) cannot be touched."""
        if after:
            self._run(self._settled())
        with contextlib.suppress(docker.errors.APIError):
            yield

    @initialize()
    def begin(self) -> None:
        self.wish(Want.RUNNING)
        self._run(self._rig.wanted(self._runtime, Want.RUNNING))

    @rule(wished=st.sampled_from(LEVELS))
    def wish(self, wished: Target) -> None:
        self._target = wished
        self._run(self._rig.wish(self._runtime, wished))

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.5]))
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    @deed
    def kill_it(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            self._container.kill()

    @deed
    def docker_stop(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            self._container.stop(timeout=1)

    @deed
    def docker_pause(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            self._container.pause()

    @deed
    def docker_unpause(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            self._container.unpause()

    @deed
    def remove_it(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            self._container.remove(force=True)

    @deed
    def rename_it(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            self._container.rename(f"{self._rig.place.name(self._runtime)}-{next(self.numbers)}")

    @rule(after=st.booleans(), megabytes=st.sampled_from([64, 512]))
    def docker_update(self, megabytes: int, *, after: bool) -> None:
        with self._by_hand(after=after):
            self._container.update(mem_limit=f"{megabytes}m", memswap_limit=f"{megabytes}m")

    @deed
    def connect_it_elsewhere(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            front = self._rig.place.docker.networks.get(f"clawloops-{self._rig.place.install_id}-front")
            front.connect(self._container)
        self._rig.plane.wake_all()  # no event tells whose container it is: the resync finds it, in up to 30 s

    @deed
    def disconnect_the_edge(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            network = self._rig.place.docker.networks.get(self._rig.place.name(self._runtime))
            network.disconnect(self._rig.place.install.edge, force=True)

    @deed
    def remove_its_network(self, *, after: bool) -> None:
        with self._by_hand(after=after):
            network = self._rig.place.docker.networks.get(self._rig.place.name(self._runtime))
            for each in network.attrs["Containers"]:
                network.disconnect(each, force=True)
            network.remove()

    @deed
    def a_second_one_with_our_labels(self, *, after: bool) -> None:
        name = f"second-{self._rig.place.install_id}-{next(self.numbers)}"
        self._rig.watch.allow(name)
        with self._by_hand(after=after):
            first = self._container
            self._rig.place.docker.containers.run(
                self._rig.place.image, name=name, labels=first.labels, detach=True, network_mode="none", init=True
            )

    @rule()
    def ask_for_a_snapshot(self) -> None:
        job = Job(
            f"j{secrets.token_hex(8)}", self._runtime.id, Task.SNAPSHOT, "", JobState.PENDING, "", None, now_ms(), 0
        )
        self._run(jobs.add(self._rig.place.db, job))
        self._rig.plane.wake_all()

    @rule()
    def make_the_edge_again(self) -> None:
        self._rig.place.docker.containers.get(self._rig.place.install.edge).remove(force=True)
        self._rig.place.make_edge()

    @rule()
    def kill_the_control_plane(self) -> None:
        self._run(self._rig.again())

    def teardown(self) -> None:
        self._run(self._settled())
        self._run(self._nothing_left_to_do())
        self._run(self._rig.wish(self._runtime, Want.GONE))
        self._run(self._rig.wanted(self._runtime, Want.GONE))
        self._rig.check()

    async def _nothing_left_to_do(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while await jobs.next_of(self._rig.place.db, self._runtime.id):
                await asyncio.sleep(0.1)

    async def _settled(self) -> None:
        """As wanted, or degraded with a reason."""
        try:
            await self._rig.wanted(self._runtime, self._target, within_s=WITHIN_S)
        except AssertionError:
            phase, reason = self._rig.plane.view(self._runtime.id)
            if phase is not Phase.DEGRADED or not reason:
                raise
        assert len(self._rig.place.containers(self._runtime)) <= 1


def live(client: docker.DockerClient, image: str, folder: Path, sequences: int) -> None:
    """So many sequences, one after the other, in an install of their own."""

    async def opened() -> tuple[Rig, Runtime]:
        with OPENING:
            rig = await Rig(client, SOCKET, folder, image).__aenter__()
        runtime = await rig.member(Want.GONE)
        await rig.begin()
        return rig, runtime

    with asyncio.Runner() as runner:
        rig, runtime = runner.run(opened())
        try:
            run_state_machine_as_test(
                lambda: Life(rig, runtime, runner.run),  # type: ignore[arg-type]  # any factory will do
                settings=settings(
                    max_examples=sequences,
                    stateful_step_count=5,
                    phases=[Part.generate],  # a sequence that failed once may pass the next time: no shrinking
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(rig.__aexit__(None))


def test_any_sequence_of_deeds_and_crashes_ends_as_wanted(
    docker_client: docker.DockerClient, standin: str, tmp_path: Path
) -> None:
    folders = [tmp_path / str(lane) for lane in range(LANES)]
    with ThreadPoolExecutor(LANES) as lanes:  # they mostly wait
        for each in folders:
            each.mkdir()
        done = [lanes.submit(live, docker_client, standin, each, -(-SEQUENCES // LANES)) for each in folders]
    for lane in done:
        lane.result()
