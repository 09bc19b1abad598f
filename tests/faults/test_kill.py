"""`kill -9` of the control plane around every single call that changes something in Docker."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from clawloops.clock import now_ms
from clawloops.model.runtime import Runtime, Sleep, Want
from clawloops.model.workspace import MOST_SNAPSHOTS, Job, JobState, Kind, Task
from clawloops.runtimes import carriers, names
from clawloops.store import jobs, volumes
from tests.faults.rig import KEPT, Rig, Target, side_by_side
from tests.standin.control_plane import ControlPlane
from tests.standin.engine_proxy import Fault, Moment, Script

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.limit(180)]


def kill_at(number: int, plane: ControlPlane, moment: Moment) -> Script:
    return lambda call: Fault(moment, plane.kill) if call.number == number else None


async def round_and_round(rig: Rig, runtime: Runtime, targets: list[Target], moment: Moment) -> list[list[str]]:
    """From each target to the next, with a kill at the first changing call of each way, then the second, … to the last.

    After each kill the next control plane must reach the target. Returns the calls of each way that had a kill.
    """
    killed: list[list[str]] = [[] for _ in targets]
    for number in itertools.count(1):
        alive = 0
        for target, calls in zip(targets, killed, strict=True):
            plane = rig.plane
            rig.proxy.script(kill_at(number, plane, moment))
            await rig.wish(runtime, target)
            while plane.alive and await rig.missing(runtime, target):
                await asyncio.sleep(0.05)
            calls += [str(call).partition(" ")[2] for call in rig.proxy.calls if call.number == number]
            rig.proxy.script(None)
            if plane.alive:
                alive += 1
            else:
                await rig.again()
                await rig.wanted(runtime, target)
            assert len(rig.place.containers(runtime)) <= 1
            if target is Want.GONE:
                await rig.never_used(runtime)
        if alive == len(targets):
            break
    return killed


async def make_and_delete(rig: Rig, moment: Moment) -> None:
    runtime = await rig.member(Want.GONE)
    await rig.begin()
    made, deleted = await round_and_round(rig, runtime, [Want.RUNNING, Want.GONE], moment)
    assert made[0] == "POST /networks/create"
    assert {"POST /volumes/create", "POST /containers/create"} <= set(made)
    assert made[-1] == "POST /containers/<id>/start"
    assert deleted[0] == "POST /containers/<id>/kill"
    assert [each.partition(" ")[0] for each in deleted].count("DELETE") == 2


async def stop_and_sleep(rig: Rig, moment: Moment) -> None:
    runtime = await rig.member()
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    made = rig.place.container(runtime).id
    targets: list[Target] = [Want.STOPPED, Want.RUNNING, Sleep.PAUSED, Want.RUNNING, Sleep.PAUSED, Sleep.STOPPED]
    stop, start, pause, unpause, _, deeper = await round_and_round(rig, runtime, targets, moment)
    verbs = [[each.rpartition("/")[2] for each in way] for way in (stop, start, pause, unpause, deeper)]
    assert verbs == [["kill"], ["start"], ["pause"], ["unpause"], ["unpause", "kill"]]
    assert rig.place.container(runtime).id == made


async def make_snapshots(rig: Rig, moment: Moment) -> None:
    runtime = await rig.member()
    await rig.begin()
    await rig.wanted(runtime, Want.RUNNING)
    before = hashlib.sha256((rig.workspace(runtime.id) / KEPT).read_bytes()).digest()
    for number in itertools.count(1):
        plane, job = rig.plane, f"j{number:016x}"
        rig.proxy.script(kill_at(number, plane, moment))
        await jobs.add(rig.place.db, Job(job, runtime.id, Task.SNAPSHOT, "", JobState.PENDING, "", None, now_ms(), 0))
        rig.plane.wake_all()
        # Up to its last call, which comes after the end of the job and lets the runtime go on.
        while plane.alive and (not (await found(rig, job)).ended_at or await rig.missing(runtime, Want.RUNNING)):
            await asyncio.sleep(0.05)
        alive = plane.alive
        rig.proxy.script(None)
        if not alive:
            await rig.again()
        await rig.wanted(runtime, Want.RUNNING)
        done = await found(rig, job)
        assert done.state is JobState.DONE, done.note
        if alive:
            break
    assert number > 4
    kept = await volumes.of(rig.place.db, runtime.id)
    assert [each.kind for each in kept].count(Kind.SNAPSHOT) == min(number, MOST_SNAPSHOTS)
    for each in kept:
        if each.kind is Kind.SNAPSHOT:
            copy = rig.place.docker.volumes.get(names.volume(rig.place.install_id, runtime.id, each.number))
            assert hashlib.sha256((Path(copy.attrs["Mountpoint"]) / KEPT).read_bytes()).digest() == before
    await carriers.sweep(rig.place.engine, rig.place.install_id)  # as the purge does
    mine: dict[str, Any] = {"label": f"{names.INSTALL}={rig.place.install_id}"}
    there = {each.name for each in rig.place.docker.containers.list(all=True, filters=mine, ignore_removed=True)}
    assert there == {rig.place.install.edge, rig.place.name(runtime)}


async def found(rig: Rig, job_id: str) -> Job:
    job = await jobs.get(rig.place.db, job_id)
    assert job is not None
    return job


async def test_killed_while_a_workspace_is_made_or_deleted_the_next_control_plane_finishes_it(three: list[Rig]) -> None:
    await side_by_side(make_and_delete(rig, moment) for rig, moment in zip(three, Moment, strict=True))


async def test_killed_while_it_stops_sleeps_or_wakes_the_last_word_counts_for_the_same_container(
    three: list[Rig],
) -> None:
    await side_by_side(stop_and_sleep(rig, moment) for rig, moment in zip(three, Moment, strict=True))


async def test_killed_while_a_snapshot_is_made_it_is_made_after_all_and_what_is_left_over_is_swept(
    three: list[Rig],
) -> None:
    await side_by_side(make_snapshots(rig, moment) for rig, moment in zip(three, Moment, strict=True))
