"""Whatever a hand, a crash and a member do to one runtime in whatever order: it ends as wanted, or says what is wrong.

20 sequences in `tests/run`, 200 in `tests/run faults`; each failure prints its sequence.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Part
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from clawloops.model.runtime import Phase, Runtime, Want
from tests.faults.rig import WITHIN_S, Rig
from tests.standin.place import SOCKET

SEQUENCES = int(os.environ.get("CLAWLOOPS_FAULT_SEQUENCES", "20"))
pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.limit(60 + 30 * SEQUENCES)]

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
wants = st.sampled_from([Want.RUNNING, Want.RUNNING, Want.STOPPED, Want.GONE])


@contextlib.contextmanager
def by_hand() -> Iterator[None]:
    """The loop may be quicker than the hand: what is not there (any more) cannot be touched."""
    with contextlib.suppress(docker.errors.APIError):
        yield


class Life(RuleBasedStateMachine):
    """One runtime, from a wish to its end."""

    numbers = itertools.count()

    def __init__(self, rig: Rig, runtime: Runtime, run: Run[Any]) -> None:
        super().__init__()
        self._rig, self._runtime, self._run = rig, runtime, run
        self._want = Want.GONE

    @property
    def _container(self) -> Any:
        return self._rig.place.container(self._runtime)

    @initialize(want=wants, wait=st.booleans())
    def begin(self, want: Want, *, wait: bool) -> None:
        self.wish(want)
        if wait:
            self._run(self._rig.wanted(self._runtime, want))

    @rule(want=wants)
    def wish(self, want: Want) -> None:
        self._want = want
        self._run(self._rig.wish(self._runtime, want))

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.5]))
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    @rule()
    def kill_it(self) -> None:
        with by_hand():
            self._container.kill()

    @rule()
    def docker_stop(self) -> None:
        with by_hand():
            self._container.stop(timeout=1)

    @rule()
    def docker_pause(self) -> None:
        with by_hand():
            self._container.pause()

    @rule()
    def docker_unpause(self) -> None:
        with by_hand():
            self._container.unpause()

    @rule()
    def remove_it(self) -> None:
        with by_hand():
            self._container.remove(force=True)

    @rule()
    def rename_it(self) -> None:
        with by_hand():
            self._container.rename(f"{self._rig.place.name(self._runtime)}-{next(self.numbers)}")

    @rule(megabytes=st.sampled_from([64, 512]))
    def docker_update(self, megabytes: int) -> None:
        with by_hand():
            self._container.update(mem_limit=f"{megabytes}m", memswap_limit=f"{megabytes}m")

    @rule()
    def connect_it_elsewhere(self) -> None:
        with by_hand():
            front = self._rig.place.docker.networks.get(f"clawloops-{self._rig.place.install_id}-front")
            front.connect(self._container)

    @rule()
    def disconnect_the_edge(self) -> None:
        with by_hand():
            network = self._rig.place.docker.networks.get(self._rig.place.name(self._runtime))
            network.disconnect(self._rig.place.install.edge, force=True)

    @rule()
    def remove_its_network(self) -> None:
        with by_hand():
            network = self._rig.place.docker.networks.get(self._rig.place.name(self._runtime))
            for each in network.attrs["Containers"]:
                network.disconnect(each, force=True)
            network.remove()

    @rule()
    def a_second_one_with_our_labels(self) -> None:
        name = f"second-{self._rig.place.install_id}-{next(self.numbers)}"
        self._rig.watch.allow(name)
        with by_hand():
            first = self._container
            self._rig.place.docker.containers.run(
                self._rig.place.image, name=name, labels=first.labels, detach=True, network_mode="none", init=True
            )

    @rule()
    def make_the_edge_again(self) -> None:
        with by_hand():
            self._rig.place.docker.containers.get(self._rig.place.install.edge).remove(force=True)
        self._rig.place.make_edge()

    @rule()
    def kill_the_control_plane(self) -> None:
        self._run(self._rig.again())

    def teardown(self) -> None:
        self._run(self._settled())
        self._run(self._rig.wish(self._runtime, Want.GONE))
        self._run(self._rig.wanted(self._runtime, Want.GONE))
        self._rig.check()

    async def _settled(self) -> None:
        """As wanted, or degraded with a reason."""
        try:
            await self._rig.wanted(self._runtime, self._want, within_s=WITHIN_S)
        except AssertionError:
            phase, reason = self._rig.plane.view(self._runtime.id)
            if phase is not Phase.DEGRADED or not reason:
                raise
        assert len(self._rig.place.containers(self._runtime)) <= 1


def test_any_sequence_of_deeds_and_crashes_ends_as_wanted(
    docker_client: docker.DockerClient, standin: str, tmp_path: Path
) -> None:
    async def opened() -> tuple[Rig, Runtime]:
        rig = await Rig(docker_client, SOCKET, tmp_path, standin).__aenter__()
        runtime = await rig.member(Want.GONE)
        await rig.begin()
        return rig, runtime

    with asyncio.Runner() as runner:
        rig, runtime = runner.run(opened())
        try:
            run_state_machine_as_test(
                lambda: Life(rig, runtime, runner.run),  # type: ignore[arg-type]  # any factory will do
                settings=settings(
                    max_examples=SEQUENCES,
                    stateful_step_count=6,
                    phases=[Part.generate],  # a sequence that failed once may pass the next time: no shrinking
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(rig.__aexit__(None))
