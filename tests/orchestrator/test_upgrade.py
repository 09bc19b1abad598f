"""Upgrades of the runtime image: on a copy, tried, kept or taken back, a canary first. Real Docker, the stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import docker
import pytest

from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Phase, Runtime, Sleep, Want
from clawloops.model.usage import Call, Tokens
from clawloops.model.workspace import Job, JobState, Kind, Task
from clawloops.orchestrator.sleep import Rules
from clawloops.orchestrator.upgrade import WAITS
from clawloops.runtimes.spec import Install
from clawloops.store import events, jobs, rollouts, volumes
from clawloops.store import runtimes as rows
from tests.runtimes.workspaces import inside
from tests.standin.place import Place
from tests.standin.versions import version

pytestmark = pytest.mark.docker

HASH = """find . -type f ! -name starts -print0 | sort -z | xargs -0 sha256sum
find . ! -name starts | sort; stat -c '%n %a %u' *"""
Image = Callable[[str], str]


@pytest.fixture
def image(docker_client: docker.DockerClient, standin: str) -> Image:
    return lambda name: version(docker_client, standin, name)


async def _member(place: Place, want: Want = Want.STOPPED) -> Runtime:
    """A member whose workspace was made by the image of today, and has something in it."""
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    fill = "mkdir .openclaw; head -c 300000 /dev/urandom > .openclaw/state; echo 0 > boot-s; ln -s /nowhere link"
    await place.inside(runtime, f"cd /home/node; {fill}")
    if want is not Want.RUNNING:
        await place.wish(runtime, want)
        await place.until(runtime, Phase.STOPPED)
    return runtime


async def restart(place: Place, **changes: str) -> None:
    """As ./install.sh does: another control plane, with another image to run."""
    if place.loop is not None:
        await place.loop.stop()
    place.install = replace(place.install, **changes)  # type: ignore[arg-type]
    await place.orchestrate()


async def ended(place: Place, runtime: Runtime, *, seconds: float = 40) -> Job:
    """Its latest upgrade to what it should be on, once that has ended."""
    found: list[Job] = []
    image = (await place.row(runtime)).pin or place.install.image
    for _ in range(int(seconds / 0.1)):
        latest = await jobs.of(place.db, runtime.id)
        found = [each for each in latest if each.task is Task.UPGRADE and each.argument == image]
        if found and found[0].ended_at:
            return found[0]
        await asyncio.sleep(0.1)
    raise AssertionError(f"{found} {place.board.get(runtime.id)} {await place.row(runtime)}")


async def _rollout(place: Place, state: RolloutState, *, seconds: float = 40) -> Rollout:
    found = None
    for _ in range(int(seconds / 0.1)):
        found = await rollouts.of(place.db, place.install.image)
        if found is not None and found.state is state:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{found}")


async def _hash(place: Place, runtime: Runtime) -> str:
    return await inside(place, runtime.id, (await place.row(runtime)).volume, HASH)


async def test_a_new_image_is_kept_once_it_has_proved_itself_on_a_copy(place: Place, image: Image) -> None:
    runtime = await _member(place)
    before, old = await _hash(place, runtime), place.install.image
    await restart(place, image=image("new"))
    job = await ended(place, runtime)
    assert job.state is JobState.DONE, job.note
    assert "upgraded to" in job.note and "first answer" in job.note
    row = await place.row(runtime)
    assert (row.image, row.before_image, row.failures) == (image("new"), "", 0)
    assert row.volume == 1
    view = await place.until(runtime, Phase.STOPPED)
    assert not view.reason, "what was stopped is stopped again"
    assert place.container(runtime).attrs["Config"]["Image"] == image("new")
    assert await _hash(place, runtime) == before == await inside(place, runtime.id, 0, HASH)
    kept = {each.number: each for each in await volumes.of(place.db, runtime.id)}
    assert (kept[1].kind, kept[0].kind, kept[0].image) == (Kind.LIVE, Kind.TRASH, old)
    assert "before the upgrade" in kept[0].note
    assert (await _rollout(place, RolloutState.DONE)).note == "1 of 1"
    told = [each for each in await events.of(place.db, runtime.id) if each.kind == "upgrade"]
    assert told and told[0].text == job.note and told[0].took_ms is not None


@pytest.mark.parametrize(
    ("name", "reason"),
    [("broken", "stopped by itself with exit code 1"), ("slow", "not ready after 3 seconds"), ("mute", "no answer")],
)
async def test_an_image_that_fails_is_taken_back_with_the_workspace_as_it_was(
    place: Place, image: Image, name: str, reason: str
) -> None:
    runtime = await _member(place)
    before, old = await _hash(place, runtime), place.install.image
    place.trial_ms = 3000
    await restart(place, image=image(name))
    job = await ended(place, runtime)
    assert job.state is JobState.FAILED
    assert reason in job.note and old in job.note
    row = await place.row(runtime)
    assert (row.image, row.before_image, row.volume, row.failures, row.failure) == (old, "", 0, 0, "")
    assert await _hash(place, runtime) == before
    assert {each.number: each.kind for each in await volumes.of(place.db, runtime.id)} == {0: Kind.LIVE, 1: Kind.TRASH}
    halted = await _rollout(place, RolloutState.HALTED)
    assert runtime.slug in halted.note and reason in halted.note
    await place.wish(runtime, Want.RUNNING)
    await place.until(runtime, Phase.READY)
    assert place.container(runtime).attrs["Config"]["Image"] == old


async def test_a_canary_that_fails_leaves_the_others_alone_until_an_admin_says_so(place: Place, image: Image) -> None:
    canary, other = await _member(place), await place.member()
    assert place.loop
    place.loop.wake(other.id)
    await place.until(other, Phase.READY)
    started = place.container(other).attrs["State"]["StartedAt"]
    await rollouts.choose_canary(place.db, canary.id)
    await restart(place, image=image("broken"))
    await _rollout(place, RolloutState.HALTED)
    place.loop.roller.look()
    place.loop.wake_all()
    await asyncio.sleep(1)
    assert place.container(other).attrs["State"]["StartedAt"] == started
    assert (await place.row(other)).image == place.image
    assert [each.task for each in await jobs.of(place.db, other.id)] == []
    assert len(await jobs.of(place.db, canary.id)) == 1
    # Another image is another rollout; what failed is over.
    await restart(place, image=image("new"))
    assert (await ended(place, canary)).state is JobState.DONE


async def test_a_model_that_does_not_answer_is_no_reason_to_go_back(place: Place, image: Image) -> None:
    runtime = await _member(place)
    await restart(place, image=image("mute"))
    assert place.loop

    async def books() -> None:
        """As the gateway has them: the runtime asked, and the backend failed."""
        while place.loop:
            place.loop.activity.settled(Call("c", 1, runtime.owner, runtime.id, "small", "b", Tokens(), 502, None, 9))
            await asyncio.sleep(0.05)

    told = asyncio.create_task(books())
    try:
        job = await ended(place, runtime)
    finally:
        told.cancel()
    assert job.state is JobState.DONE
    assert "the model itself failed" in job.note
    assert (await place.row(runtime)).image == image("mute")


async def test_one_in_use_is_not_touched_until_it_is_idle(
    place: Place, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawloops.orchestrator.doze.ASK_AGAIN_MS", 0)
    runtime = await _member(place, Want.RUNNING)
    await place.inside(runtime, "echo 1 > /home/node/busy")
    started = place.container(runtime).attrs["State"]["StartedAt"]
    await restart(place, image=image("new"))
    assert place.loop
    for _ in range(100):
        if (job := await jobs.next_of(place.db, runtime.id)) is not None and job.note == WAITS:
            break
        await asyncio.sleep(0.1)
    assert job is not None and (job.state, job.note) == (JobState.PENDING, WAITS)
    assert place.container(runtime).attrs["State"]["StartedAt"] == started
    assert place.board.get(runtime.id).phase is Phase.READY
    await place.inside(runtime, "rm /home/node/busy")
    place.loop.wake(runtime.id)
    shown: set[Phase] = set()
    with place.board.bus.subscribe(runtime.id) as views:
        async for view in views:
            shown.add(view.phase)
            assert view.phase is not Phase.READY or (await place.row(runtime)).before_image == "", "used in its trial"
            if view.phase is Phase.READY and (await place.row(runtime)).image == image("new"):
                break
    assert Phase.WORKING in shown
    assert (await ended(place, runtime)).state is JobState.DONE


async def test_a_sleeping_one_is_upgraded_and_sleeps_again(place: Place, image: Image) -> None:
    runtime = await _member(place, Want.RUNNING)
    place.rules = Rules(pause_after_ms=0, stop_after_ms=10**12)
    await restart(place)
    await place.until(runtime, Phase.PAUSED)
    await restart(place, image=image("new"))
    assert (await ended(place, runtime)).state is JobState.DONE
    await place.until(runtime, Phase.PAUSED)
    row = await place.row(runtime)
    assert (row.image, row.sleep) == (image("new"), Sleep.PAUSED)


@pytest.mark.parametrize(("name", "reason"), [("foreign", "carries labels"), ("missing", "not on this host")])
async def test_an_image_that_may_not_be_used_stops_nobody(place: Place, image: Image, name: str, reason: str) -> None:
    runtime = await _member(place, Want.RUNNING)
    started = place.container(runtime).attrs["State"]["StartedAt"]
    pin = image(name) if name != "missing" else "clawloops/openclaw:missing"
    await rows.put(place.db, replace(await place.row(runtime), pin=pin))
    assert place.loop
    place.loop.roller.look()
    job = await ended(place, runtime)
    assert job.state is JobState.FAILED and reason in job.note
    assert place.container(runtime).attrs["State"]["StartedAt"] == started
    await place.until(runtime, Phase.READY)
    place.loop.roller.look()
    await asyncio.sleep(0.5)
    assert len(await jobs.of(place.db, runtime.id)) == 1, "it is not tried again and again"


async def test_a_pin_moves_one_member_alone_and_back(place: Place, image: Image) -> None:
    pinned, other = await _member(place), await place.member(Want.STOPPED)
    await rows.put(place.db, replace(await place.row(pinned), pin=image("newer")))
    assert place.loop
    place.loop.roller.look()
    assert (await ended(place, pinned)).state is JobState.DONE
    assert (await place.row(pinned)).image == image("newer")
    assert (await place.row(other)).image == ""
    assert await rollouts.of(place.db, place.install.image) is None
    await place.until(pinned, Phase.STOPPED)
    await rows.put(place.db, replace(await place.row(pinned), pin=""))
    place.loop.roller.look()
    done = await _rollout(place, RolloutState.DONE)
    assert done.note == "1 of 1"
    assert (await place.row(pinned)).image == place.install.image


async def test_a_workspace_removed_in_its_trial_goes_back_and_waits(place: Place, image: Image) -> None:
    runtime = await _member(place)
    before = await _hash(place, runtime)
    await restart(place, image=image("slow"))
    for _ in range(200):
        if (await place.row(runtime)).before_image and place.containers(runtime):
            break
        await asyncio.sleep(0.1)
    await place.wish(runtime, Want.GONE)
    job = await ended(place, runtime)
    assert job.state is JobState.FAILED and job.note.startswith("cancelled")
    await place.until(runtime, Phase.ABSENT)
    row = await place.row(runtime)
    assert (row.image, row.before_image, row.volume) == (place.image, "", 0)
    assert await _hash(place, runtime) == before


def test_the_installs_image_is_where_a_new_member_begins() -> None:
    install = Install(install_id="i", data="/d", edge="e", image="new")
    row = Runtime("r1", "u1", "s", Want.RUNNING, "10.0.0.0/29", 0, None, 1, 0, "", 0, 0)
    assert install.image_of(row) == "new"
    assert install.image_of(replace(row, pin="pinned")) == "pinned"
    assert install.image_of(replace(row, pin="pinned", image="old")) == "old"
