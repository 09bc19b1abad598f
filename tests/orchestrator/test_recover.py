"""What was changed by hand, went missing or hangs ends in the wanted state, or in a reason that helps."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clawloops.clock import now_ms
from clawloops.model.runtime import Phase, Size
from clawloops.model.workspace import Job, JobState, Task
from clawloops.orchestrator import keeper
from clawloops.orchestrator.admission import Box, Gate, look
from clawloops.runtimes import containers, names
from clawloops.runtimes.spec import create_body
from clawloops.store import events, jobs
from clawloops.store import runtimes as rows
from tests.standin.parts import NEVER
from tests.standin.place import Place

pytestmark = pytest.mark.docker


async def test_a_container_that_was_edited_by_hand_is_made_again_as_it_should_be(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    before = place.container(runtime).id
    bridge = place.docker.networks.get("bridge")
    await asyncio.to_thread(bridge.connect, place.name(runtime))
    assert place.loop
    place.loop.wake(runtime.id)  # no event tells of a network that is not ours; a look comes within half a minute
    await place.seen(runtime, lambda view: view.phase is not Phase.READY)
    await place.until(runtime, Phase.READY)
    after = place.container(runtime)
    assert after.id != before
    assert list(after.attrs["NetworkSettings"]["Networks"]) == [names.network(place.install_id, runtime.id)]


async def test_limits_that_were_changed_by_hand_are_made_good(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await asyncio.to_thread(place.container(runtime).update, mem_limit="200m", memswap_limit="400m")
    assert place.loop
    place.loop.wake(runtime.id)
    await place.seen(runtime, lambda view: view.phase is not Phase.READY)
    await place.until(runtime, Phase.READY)
    settings = place.container(runtime).attrs["HostConfig"]
    assert (settings["Memory"], settings["MemorySwap"]) == (256 * 2**20, 512 * 2**20)


async def test_a_new_size_waits_until_nobody_uses_the_runtime_and_says_so(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo 1 > /home/node/busy")
    before = place.container(runtime).id
    await rows.put(place.db, replace(await place.row(runtime), size=Size.LARGE))
    assert place.loop
    place.loop.wake(runtime.id)
    view = await place.seen(runtime, lambda view: view.pending != "")
    assert (view.phase, "restart" in view.pending) == (Phase.READY, True)
    assert place.container(runtime).id == before
    await jobs.add(
        place.db,
        Job("j" + secrets.token_hex(8), runtime.id, Task.RESTART, "", JobState.PENDING, "", None, now_ms(), 0),
    )
    place.loop.wake(runtime.id)
    await place.seen(runtime, lambda view: view.phase is Phase.WORKING)
    await place.until(runtime, Phase.READY)
    after = place.container(runtime)
    assert after.id != before
    assert after.attrs["HostConfig"]["Memory"] == 2 * 256 * 2**20
    assert place.board.get(runtime.id).pending == ""


async def test_a_new_size_comes_by_itself_when_openclaw_is_idle(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawloops.orchestrator.doze.ASK_AGAIN_MS", 500)
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await rows.put(place.db, replace(await place.row(runtime), size=Size.SMALL))
    assert place.loop
    await asyncio.sleep(0.6)
    place.loop.wake(runtime.id)
    await place.seen(runtime, lambda view: view.phase is not Phase.READY)
    await place.until(runtime, Phase.READY)
    assert place.container(runtime).attrs["HostConfig"]["Memory"] == 192 * 2**20


async def test_a_workspace_volume_that_is_gone_is_told_and_never_replaced_by_an_empty_one(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    assert place.loop
    await place.loop.stop()
    await asyncio.to_thread(place.container(runtime).remove, force=True)
    volume = names.volume(place.install_id, runtime.id)
    await asyncio.to_thread(place.docker.volumes.get(volume).remove)
    await place.orchestrate()
    view = await place.until(runtime, Phase.DEGRADED)
    assert "restore a snapshot" in view.reason
    assert [each.name for each in place.docker.volumes.list(filters={"name": volume})] == []
    assert place.containers(runtime) == []


async def test_a_runtime_that_stops_answering_is_not_called_ready_for_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RESYNC_S", 0.5)
    monkeypatch.setattr("clawloops.orchestrator.run.SILENT_MS", 1500)
    monkeypatch.setattr("clawloops.orchestrator.phase.SLOW_BOOT_MS", 2000)
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    container = place.container(runtime)
    await asyncio.to_thread(container.kill, "SIGSTOP")  # to its init, so that the Engine still says "running"
    pid = _child_of(container.attrs["State"]["Pid"])
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    view = await place.seen(runtime, lambda view: view.phase is Phase.DEGRADED)
    assert "restart the workspace" in view.reason
    subprocess.run(["kill", "-CONT", str(pid), str(container.attrs["State"]["Pid"])], check=True)
    await place.until(runtime, Phase.READY)
    assert "degraded" in [each.kind for each in await events.of(place.db, runtime.id)]


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.fixture
def swap(tmp_path: Path) -> Iterator[None]:
    """A swap file of the test's own."""
    file = Path("/var/tmp") / f"claw-swap-{secrets.token_hex(4)}"
    subprocess.run(["fallocate", "-l", "1G", str(file)], check=True)
    file.chmod(0o600)
    subprocess.run(["mkswap", "-q", str(file)], check=True, capture_output=True)
    subprocess.run(["swapon", str(file)], check=True)
    try:
        yield
    finally:
        subprocess.run(["swapoff", str(file)], check=True)
        file.unlink()


@pytest.mark.usefixtures("swap")
async def test_what_a_paused_runtime_keeps_in_memory_goes_out_to_swap_and_comes_back(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keeper, "SQUEEZE_AFTER_MS", 0)
    place.rules = replace(NEVER, pause_after_ms=3000)  # long enough to be seen awake below
    swap_mb = look(tmp_path).swap_mb
    place.gate = Gate(lambda: Box(10**6, 10**6, swap_mb), slots=4)
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.PAUSED)
    assert place.loop
    async with asyncio.timeout(30):
        while place.container(runtime).attrs["HostConfig"]["Memory"] != keeper.SQUEEZED_BYTES:
            place.loop.wake(runtime.id)  # or the next look would come after half a minute
            await asyncio.sleep(0.1)
    assert place.container(runtime).status == "paused"
    place.loop.activity.touch(runtime.id, "somebody came")
    await place.loop.rouse(runtime.id, "you opened it")
    container = place.container(runtime)
    assert (container.status, container.attrs["HostConfig"]["Memory"]) == ("running", 256 * 2**20)
    assert place.board.get(runtime.id).phase is Phase.READY


async def test_what_nobody_knows_is_told_and_never_touched(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    assert place.loop
    await place.loop.stop()
    unknown = await asyncio.to_thread(
        place.docker.containers.create,
        place.image,
        name=names.container(place.install_id, "r" + "0" * 16),
        labels=names.labels(place.install_id, "r" + "0" * 16),
    )
    await place.orchestrate()
    async with asyncio.timeout(20):
        while not place.loop.strangers:
            await asyncio.sleep(0.1)
    assert [each.name for each in place.loop.strangers] == [unknown.name]
    unknown.reload()
    assert unknown.status == "created"


async def test_a_container_that_docker_made_otherwise_than_asked_is_never_started_and_counts_as_a_failure(
    place: Place,
) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    assert place.loop
    await place.loop.stop()
    await asyncio.to_thread(place.container(runtime).remove, force=True)
    body = create_body(await place.row(runtime), place.install)
    body["HostConfig"]["CapAdd"] = ["NET_ADMIN"]
    odd = await containers.create(place.engine, place.name(runtime), body)
    await place.orchestrate()
    await place.seen(runtime, lambda view: view.phase is not Phase.READY)
    await place.until(runtime, Phase.READY)
    assert place.container(runtime).id != odd
    assert place.container(runtime).attrs["HostConfig"]["CapAdd"] is None
    told = [each.text for each in await events.of(place.db, runtime.id) if each.kind == "failed"]
    assert told == ["Docker makes the container otherwise than asked: CapAdd"]
