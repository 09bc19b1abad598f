"""The wish always wins, with the real Docker Engine and the stand-in runtime."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import docker.errors
import pytest

from clawloops.model import provider
from clawloops.model.provider import Backend, BackendKind, Model
from clawloops.model.runtime import STEPS, Phase, Want
from clawloops.runtimes import containers, names
from clawloops.store import backends, models, users
from tests.standin.place import Place

pytestmark = pytest.mark.docker


async def test_an_opened_workspace_becomes_ready_and_tells_how_long_each_stage_took(place: Place) -> None:
    await place.orchestrate()
    runtime = await place.member()
    assert place.loop
    place.loop.wake(runtime.id)
    view = await place.until(runtime, Phase.READY)
    assert [step for step, _ in view.steps] == list(STEPS)
    assert view.address == names.addresses(runtime.subnet).runtime
    assert place.board.by_slug(runtime.slug) == view
    row = await place.row(runtime)
    assert place.tokens.admitted[runtime.id] == (row.token_hash, view.address)
    assert row.generation == 1


async def test_a_killed_runtime_comes_back_as_the_same_container(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    before = place.container(runtime)
    await asyncio.to_thread(before.kill)
    await place.seen(runtime, lambda view: view.phase is not Phase.READY)
    await place.until(runtime, Phase.READY)
    assert place.container(runtime).id == before.id
    assert "killed" in (await place.row(runtime)).failure


async def test_a_removed_container_is_made_again_with_its_workspace(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo kept > /home/node/note")
    await asyncio.to_thread(place.container(runtime).remove, force=True)
    await place.seen(runtime, lambda view: view.phase is not Phase.READY)
    await place.until(runtime, Phase.READY)
    assert await place.inside(runtime, "cat /home/node/note") == "kept"
    assert (await place.row(runtime)).generation == 2


async def test_stop_and_start_keep_the_workspace_and_the_container(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo kept > /home/node/note")
    before = place.container(runtime).id
    await place.wish(runtime, Want.STOPPED)
    await place.until(runtime, Phase.STOPPED)
    assert place.container(runtime).status == "exited"
    await place.wish(runtime, Want.RUNNING)
    await place.until(runtime, Phase.READY)
    assert place.container(runtime).id == before
    assert await place.inside(runtime, "cat /home/node/note") == "kept"
    assert (await place.row(runtime)).failures == 0


async def test_a_drain_is_waited_for_and_delays_nobody_else(place: Place) -> None:
    slow, other = await place.member(), await place.member()
    await place.orchestrate()
    await place.until(slow, Phase.READY)
    await place.until(other, Phase.READY)
    await place.inside(slow, "echo 5 > /home/node/drain-s")
    await place.wish(slow, Want.STOPPED)
    await place.until(slow, Phase.STOPPING)
    await place.wish(other, Want.STOPPED)
    await place.until(other, Phase.STOPPED, seconds=4)
    assert place.board.get(slow.id).phase is Phase.STOPPING
    await place.until(slow, Phase.STOPPED)
    assert place.container(slow).attrs["State"]["ExitCode"] == 0


async def test_a_paused_runtime_is_woken_to_run_and_to_stop(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await containers.pause(place.engine, place.container(runtime).id)
    async with asyncio.timeout(10):
        while place.container(runtime).status != "running":
            await asyncio.sleep(0.1)
    assert place.loop
    await place.loop.stop()
    await containers.pause(place.engine, place.container(runtime).id)
    await place.orchestrate()
    await place.wish(runtime, Want.STOPPED)
    await place.until(runtime, Phase.STOPPED)
    assert place.container(runtime).attrs["State"]["ExitCode"] == 0


async def test_a_deleted_runtime_leaves_its_volume_and_nothing_else(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo kept > /home/node/note")
    await place.wish(runtime, Want.GONE)
    await place.until(runtime, Phase.ABSENT)
    async with asyncio.timeout(10):
        while place.docker.networks.list(names=[place.name(runtime)]) or runtime.id in place.tokens.admitted:
            await asyncio.sleep(0.1)
    assert place.containers(runtime) == []
    assert place.docker.volumes.get(names.volume(place.install_id, runtime.id))
    await place.wish(runtime, Want.RUNNING)
    await place.until(runtime, Phase.READY)
    assert await place.inside(runtime, "cat /home/node/note") == "kept"


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_a_network_removed_by_hand_is_repaired(place: Place, *, running: bool) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    before = place.container(runtime).id
    if not running:
        await place.wish(runtime, Want.STOPPED)
        await place.until(runtime, Phase.STOPPED)

    def remove() -> None:
        network = place.docker.networks.get(place.name(runtime))
        for member in (place.install.edge, place.name(runtime)) if running else (place.install.edge,):
            network.disconnect(member, force=True)
        network.remove()

    assert place.loop
    await place.loop.stop()  # or it repairs the network between the two commands of the hand
    await asyncio.to_thread(remove)
    await place.orchestrate()
    if not running:
        await place.wish(runtime, Want.RUNNING)
    await place.seen(runtime, lambda view: view.phase in (Phase.NETWORK, Phase.CONTAINER))
    view = await place.until(runtime, Phase.READY)
    assert view.address
    assert await place.probe(view.address)
    assert place.container(runtime).id == before


async def test_an_endpoint_taken_away_by_hand_is_put_back(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    view = await place.until(runtime, Phase.READY)
    assert view.address
    network = place.docker.networks.get(place.name(runtime))
    for name in (place.install.edge, place.name(runtime)):
        await asyncio.to_thread(network.disconnect, name, force=True)
        async with asyncio.timeout(5):
            while not await place.probe(view.address):
                await asyncio.sleep(0.1)


async def test_an_edge_that_was_made_again_is_connected_again(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    before = place.container(runtime).attrs["State"]["StartedAt"]
    await asyncio.to_thread(place.docker.containers.get(place.install.edge).remove, force=True)
    async with asyncio.timeout(30):  # while Docker still removes it, that is what is wrong
        while "./install.sh" not in (await place.until(runtime, Phase.DEGRADED)).reason:
            await asyncio.sleep(0.1)
    await asyncio.to_thread(place.make_edge)
    view = await place.until(runtime, Phase.READY)
    assert view.address
    assert await place.probe(view.address)
    assert place.container(runtime).attrs["State"]["StartedAt"] == before


async def test_a_new_model_reaches_the_running_runtime_without_a_restart(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    before = place.container(runtime).attrs["State"]["StartedAt"]
    assert await _models_inside(place, runtime) == []
    await backends.add(place.db, Backend("b1", "local", BackendKind.OLLAMA, "http://ollama:11434", "", 1))
    await models.add(place.db, Model("m1", "team-small", (provider.Place("b1", "small"),), 32768, 4096, True, 1))
    assert place.loop
    place.loop.wake_all()
    async with asyncio.timeout(2):
        while await _models_inside(place, runtime) != ["team-small"]:
            await asyncio.sleep(0.05)
    assert place.container(runtime).attrs["State"]["StartedAt"] == before
    assert await place.inside(runtime, "touch /etc/openclaw/x /run/clawloops/x 2>&1 | grep -c 'Read-only'") == "2"


async def test_an_owner_who_is_shut_out_is_so_in_openclaw_too_while_it_still_ends_its_turn(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo 6 > /home/node/drain-s")
    read = "cat /etc/openclaw/openclaw.json"
    auth = json.loads(await place.inside(runtime, read))["gateway"]["auth"]
    assert runtime.owner in auth["trustedProxy"]["allowUsers"] and runtime.owner in auth["identityScopes"]
    await users.set_disabled(place.db, runtime.owner, 1)
    await place.wish(runtime, Want.STOPPED)
    async with asyncio.timeout(2):
        while runtime.owner in await place.inside(runtime, read):
            await asyncio.sleep(0.05)
    assert place.container(runtime).status == "running"
    await place.until(runtime, Phase.STOPPED)
    await users.set_disabled(place.db, runtime.owner, None)
    await place.wish(runtime, Want.RUNNING)
    await place.until(runtime, Phase.READY)
    assert runtime.owner in await place.inside(runtime, read)


async def _models_inside(place: Place, runtime: Any) -> list[str]:
    config = json.loads(await place.inside(runtime, "cat /etc/openclaw/openclaw.json"))
    return [model["id"] for model in config["models"]["providers"]["clawloops"]["models"]]


async def test_a_second_container_with_our_labels_is_ended(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    first = place.container(runtime)
    await asyncio.to_thread(
        place.docker.containers.run, place.image, labels=first.labels, detach=True, network_mode="none", init=True
    )
    async with asyncio.timeout(15):
        while [each.id for each in place.containers(runtime)] != [first.id]:
            await asyncio.sleep(0.1)
    await place.until(runtime, Phase.READY)


async def test_a_missing_image_keeps_the_old_container_and_is_named(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    assert place.loop
    await place.loop.stop()
    before = place.container(runtime).id
    place.install = type(place.install)(
        **{each: getattr(place.install, each) for each in place.install.__slots__} | {"image": "clawloops/none:0"}
    )
    await place.orchestrate()
    other = await place.member()
    place.loop.wake(other.id)
    view = await place.until(other, Phase.DEGRADED)
    assert "clawloops/none:0" in view.reason
    assert "./install.sh" in view.reason
    await place.until(runtime, Phase.READY)
    assert [each.id for each in place.containers(runtime)] == [before]


async def test_a_crash_loop_is_told_with_its_exit_code(place: Place) -> None:
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo 7 > /home/node/exit-now")
    await asyncio.to_thread(place.container(runtime).kill)
    view = await place.until(runtime, Phase.DEGRADED, seconds=60)
    assert "exit code 7" in view.reason


async def test_an_orchestrator_cut_off_in_the_middle_of_a_create_is_finished_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await place.member()
    asked = asyncio.Event()
    create = containers.create

    async def watched(*args: Any) -> str:
        asked.set()
        return await create(*args)

    monkeypatch.setattr(containers, "create", watched)
    first = await place.orchestrate()
    await asked.wait()  # the request is on its way to Docker, and nobody will read the answer
    await first.stop()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    assert len(place.containers(runtime)) == 1
    row = await place.row(runtime)
    assert row.failures == 0
    assert place.container(runtime).labels[names.GENERATION] == str(row.generation)


async def test_a_restarted_control_plane_adopts_what_runs_and_disturbs_nothing(place: Place) -> None:
    runtime = await place.member()
    first = await place.orchestrate()
    await place.until(runtime, Phase.READY)
    before = place.container(runtime)
    await first.stop()
    place.tokens.admitted.clear()
    place.board = type(place.board)()
    await place.orchestrate()
    view = await place.until(runtime, Phase.READY, seconds=3)
    assert view.steps == ()
    assert place.container(runtime).attrs["State"]["StartedAt"] == before.attrs["State"]["StartedAt"]
    assert place.tokens.admitted[runtime.id][0] == (await place.row(runtime)).token_hash


async def test_a_container_of_somebody_else_with_our_name_is_never_touched(place: Place) -> None:
    runtime = await place.member()
    theirs = await asyncio.to_thread(
        place.docker.containers.create, place.image, name=place.name(runtime), labels={"theirs": "yes"}
    )
    try:
        await place.orchestrate()
        view = await place.until(runtime, Phase.DEGRADED)
        assert place.name(runtime) in view.reason
        assert place.docker.containers.get(place.name(runtime)).labels.get("theirs") == "yes"
    finally:
        await asyncio.to_thread(theirs.remove)


async def test_an_engine_that_does_not_answer_means_unknown_not_gone(place: Place) -> None:
    runtime = await place.member()
    place.engine.close()
    place.engine = type(place.engine)("unix:///run/there-is-no-docker-here.sock")
    await place.orchestrate()
    view = await place.until(runtime, Phase.UNKNOWN)
    assert "docker info" in view.reason
    with pytest.raises(docker.errors.NotFound):
        place.container(runtime)
