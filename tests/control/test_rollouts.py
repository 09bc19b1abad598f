"""Upgrades for admins: who goes first, another try, and a member who stays on an image."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.control.rollouts import Rollouts
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound
from clawloops.model.account import User
from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Runtime, Want
from clawloops.model.workspace import Job, JobState, Task
from clawloops.runtimes.spec import Install
from clawloops.store import jobs, rollouts, runtimes
from clawloops.store.rollouts import FORGIVEN
from tests.control.conftest import House

HALTED = Rollout("image:2", "r1", RolloutState.HALTED, "the canary went back", 1, 2)


@pytest.fixture
def looks() -> list[str]:
    return []


@pytest.fixture
def service(house: House, looks: list[str]) -> Rollouts:
    install = Install(install_id="0" * 8, data="/data", edge="edge", image="image:2")
    return Rollouts(house.db, house.audit, install=install, look=lambda: looks.append("look"))


async def _used(house: House, user: User, image: str = "image:1") -> Runtime:
    runtime = await house.runtimes.open(user)
    return await runtimes.put(house.db, replace(runtime, image=image, volume_at=1))


async def _failed(house: House, runtime: Runtime, image: str = "image:2") -> None:
    job = Job(f"j{runtime.id}", runtime.id, Task.UPGRADE, image, JobState.FAILED, "exit code 1", None, 1, 2)
    await jobs.add(house.db, job)


async def test_an_admin_sees_who_is_behind_and_why(house: House, service: Rollouts) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    first, second = await _used(house, owner), await _used(house, ben, "image:2")
    await _failed(house, first)
    seen = await service.progress(by=owner)
    assert (seen.image, seen.rollout, seen.canary, seen.halted) == ("image:2", None, "", False)
    behind = {each.runtime.id: each for each in seen.members}
    assert behind[first.id].behind and not behind[second.id].behind
    job = behind[first.id].job
    assert job is not None and job.note == "exit code 1"
    await house.runtimes.wish(first.id, Want.GONE, by=owner)
    assert [each.runtime.id for each in (await service.progress(by=owner)).members] == [second.id]


async def test_another_try_forgives_what_went_back_and_begins_with_a_canary(
    house: House, service: Rollouts, looks: list[str]
) -> None:
    owner, _ = await house.join("ada")
    runtime = await _used(house, owner)
    with pytest.raises(Conflict):
        await service.try_again(by=owner)
    await rollouts.begin(house.db, HALTED)
    await _failed(house, runtime)
    assert (await service.progress(by=owner)).halted
    await service.try_again(by=owner)
    seen = await service.progress(by=owner)
    assert seen.rollout is not None and seen.rollout.state is RolloutState.CANARY
    assert seen.members[0].job is not None and seen.members[0].job.note.startswith(FORGIVEN)
    assert looks == ["look"]
    assert (await house.audit.latest())[0].action == "upgrade tried again"


async def test_a_pin_is_written_down_and_asks_again_for_an_image_that_failed(
    house: House, service: Rollouts, looks: list[str]
) -> None:
    owner, _ = await house.join("ada")
    runtime = await _used(house, owner)
    await _failed(house, runtime, "image:3")
    with pytest.raises(BadInput):
        await service.pin(runtime.id, "two words", by=owner)
    with pytest.raises(NotFound):
        await service.pin("r0", "image:3", by=owner)
    with pytest.raises(BadInput, match="of another repository"):
        await service.pin(runtime.id, "elsewhere/image:3", by=owner)
    assert (await service.pin(runtime.id, "image:3", by=owner)).pin == "image:3"
    member = (await service.progress(by=owner)).members[0]
    assert (member.wanted, member.behind) == ("image:3", True)
    assert member.job is not None and member.job.note.startswith(FORGIVEN)
    assert (await service.pin(runtime.id, "", by=owner)).pin == ""
    assert [each.action for each in await house.audit.latest()][:2] == ["image follows the install", "image pinned"]
    assert len(looks) == 2


async def test_the_canary_can_be_chosen_and_left_to_the_loop_again(house: House, service: Rollouts) -> None:
    owner, _ = await house.join("ada")
    runtime = await _used(house, owner)
    with pytest.raises(NotFound):
        await service.choose_canary("r0", by=owner)
    await service.choose_canary(runtime.id, by=owner)
    assert (await service.progress(by=owner)).canary == runtime.id
    await service.choose_canary("", by=owner)
    assert (await service.progress(by=owner)).canary == ""


async def test_members_see_and_change_nothing_of_it(house: House, service: Rollouts) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    runtime = await _used(house, ben)
    with pytest.raises(Forbidden):
        await service.progress(by=ben)
    with pytest.raises(Forbidden):
        await service.choose_canary(runtime.id, by=ben)
    with pytest.raises(Forbidden):
        await service.try_again(by=ben)
    with pytest.raises(Forbidden):
        await service.pin(runtime.id, "image:3", by=ben)
