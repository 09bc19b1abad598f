"""Wishes about workspaces: written down, and the loop woken; one workspace and one network for each member."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.errors import Forbidden, NotFound, Unavailable
from clawloops.model.account import Role
from clawloops.model.runtime import Want
from clawloops.store import runtimes as rows
from tests.control.conftest import House


async def test_opening_twice_at_once_makes_one_workspace(house: House) -> None:
    user, _ = await house.join("ada")
    opened = await asyncio.gather(*(house.runtimes.open(user) for _ in range(5)))
    assert len({each.id for each in [*opened, *await rows.all(house.db)]}) == 1
    runtime = await house.runtimes.of_owner(user.id)
    assert runtime is not None
    assert runtime.want is Want.RUNNING
    assert house.woken


async def test_every_member_gets_a_network_of_their_own_until_the_pool_is_used_up(house: House) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    first, second = await house.runtimes.open(owner), await house.runtimes.open(ben)
    assert {first.subnet, second.subnet} == {"10.213.0.0/29", "10.213.0.8/29"}
    eve, _ = await house.join("eve", by=owner)
    with pytest.raises(Unavailable, match="CLAWLOOPS_RUNTIME_POOL"):
        await house.runtimes.open(eve)


async def test_an_admin_may_stop_a_workspace_and_not_start_it_and_others_do_not_see_it(house: House) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    eve, _ = await house.join("eve", by=owner)
    runtime = await house.runtimes.open(ben)
    with pytest.raises(NotFound):
        await house.runtimes.wish(runtime.id, Want.STOPPED, by=eve)
    stopped = await house.runtimes.wish(runtime.id, Want.STOPPED, by=owner)
    assert stopped.want is Want.STOPPED
    with pytest.raises(Forbidden):
        await house.runtimes.wish(runtime.id, Want.RUNNING, by=owner)
    assert owner.role is Role.OWNER


async def test_wishing_again_forgets_the_failures_of_before(house: House) -> None:
    user, _ = await house.join("ada")
    runtime = await house.runtimes.open(user)
    await rows.set_failure(house.db, runtime.id, 5, "it ended with exit code 1", 2**40)
    again = await house.runtimes.wish(runtime.id, Want.RUNNING, by=user)
    assert (again.failures, again.failure, again.retry_at) == (0, "", 0)


async def test_disabling_a_member_stops_the_runtime(house: House) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    runtime = await house.runtimes.open(ben)
    house.accounts.on_disabled = house.runtimes.stop_for
    await house.accounts.disable(ben.id, by=owner)
    kept = await rows.get(house.db, runtime.id)
    assert kept is not None
    assert kept.want is Want.STOPPED
