"""Budgets over restarts and changes: what was used before counts, and is counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from clawloops.clock import now_ms
from clawloops.control.budgets import Budgets
from clawloops.control.burn import BurnGuard
from clawloops.control.ledger import Ledger
from clawloops.errors import BadInput, Forbidden, NotFound
from clawloops.gateway.budgets import Payer, Use
from clawloops.gateway.journal import Journal
from clawloops.model.account import Group, User
from clawloops.model.budget import Measure, Scope, Span
from clawloops.model.usage import Tokens
from clawloops.store import groups, runtimes
from tests.control.conftest import House
from tests.gateway.test_budgets import set_aside
from tests.store import rows


class Desk:
    def __init__(self, house: House, journal: Journal, owner: User, member: User) -> None:
        self.house, self.journal, self.owner, self.member = house, journal, owner, member
        self.noted: set[asyncio.Task[None]] = set()
        self.ledger = Ledger(house.db, journal)
        self.budgets = Budgets(house.db, house.audit, self.ledger, keep=self.keep)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        self.noted.add(asyncio.create_task(work))

    def settle(self, amount: int, **changes: Any) -> None:
        """As the gateway does: written down, then counted."""
        call = rows.call(**{"at": now_ms(), "user_id": self.member.id, "tokens": Tokens(amount), **changes})
        self.journal.append(call)
        self.budgets.gateway.settled(call, Payer(call.user_id, call.key_id, "m", is_background=call.is_background))

    def used(self) -> dict[str, int]:
        return {level.budget.scope.value + level.user_id: level.used for level in self.budgets.levels()}


@pytest.fixture
async def desk(house: House, tmp_path: Path) -> Any:
    owner, _ = await house.join("ada")
    member, _ = await house.join("bob", by=owner)
    journal = Journal(tmp_path / "usage.log")
    yield Desk(house, journal, owner, member)
    journal.close()


async def test_what_was_used_before_a_budget_or_a_restart_counts(desk: Desk) -> None:
    desk.settle(100)
    await groups.add(desk.house.db, Group("g1", "team", frozenset([desk.member.id, desk.owner.id]), 1))
    add, by = desk.budgets.add, {"by": desk.owner}
    await add(Scope.EACH, "", Measure.TOKENS, Span.MONTH, 1000, is_background=False, **by)
    await add(Scope.GROUP, "g1", Measure.TOKENS, Span.DAY, 1000, is_background=False, **by)
    await add(Scope.BOX, "", Measure.REQUESTS, Span.MONTH, 1000, is_background=True, **by)
    desk.settle(11, user_id=desk.owner.id, is_background=True)
    expected = {f"each{desk.member.id}": 100, f"each{desk.owner.id}": 11, "group": 111, "box": 1}
    assert desk.used() == expected
    again = Desk(desk.house, desk.journal, desk.owner, desk.member)
    await again.budgets.load()
    assert again.used() == expected
    assert [each.used for each in again.budgets.levels_of(desk.member)] == [100, 111]


async def test_no_call_is_lost_or_doubled_while_budgets_are_changed(desk: Desk) -> None:
    budget = await desk.budgets.add(
        Scope.BOX, "", Measure.TOKENS, Span.MONTH, 10**6, is_background=False, by=desk.owner
    )

    async def work() -> None:
        for number in range(300):
            desk.settle(1, id=f"call-{number}")
            await asyncio.sleep(0.001)

    async def change() -> None:
        for number in range(30):
            await desk.budgets.change(budget.id, 10**6 + number, by=desk.owner)
            await desk.ledger.fold()

    folding = asyncio.create_task(desk.ledger.run())
    await asyncio.gather(work(), change(), change(), change())
    folding.cancel()
    assert desk.used() == {"box": 300}
    await desk.budgets.load()
    assert desk.used() == {"box": 300}


async def test_a_budget_that_is_changed_keeps_what_is_set_aside(desk: Desk) -> None:
    budget = await desk.budgets.add(Scope.BOX, "", Measure.TOKENS, Span.DAY, 100, is_background=False, by=desk.owner)
    payer = Payer(desk.member.id, "", "m", is_background=False)
    hold = set_aside(desk.budgets.gateway, payer, Use(tokens=60), Use(tokens=60), now=now_ms())
    await desk.budgets.change(budget.id, 120, by=desk.owner)
    assert (
        set_aside(desk.budgets.gateway, payer, Use(tokens=1), Use(tokens=99), now=now_ms()).room(Measure.TOKENS) == 60
    )
    hold.end()
    assert (
        set_aside(desk.budgets.gateway, payer, Use(tokens=1), Use(tokens=99), now=now_ms()).room(Measure.TOKENS) == 60
    )


async def test_four_fifths_are_told_once(desk: Desk) -> None:
    await desk.budgets.add(Scope.EACH, "", Measure.TOKENS, Span.DAY, 100, is_background=False, by=desk.owner)
    for amount in (79, 1, 10):
        desk.settle(amount)
    await asyncio.gather(*desk.noted)
    told = [each for each in await desk.house.audit.latest() if each.action == "budget nearly used up"]
    assert [(each.subject, each.detail) for each in told] == [(desk.member.id, "each: 100 tokens a day")]


async def test_only_admins_set_budgets_and_nonsense_is_refused(desk: Desk) -> None:
    add = desk.budgets.add
    with pytest.raises(Forbidden):
        await add(Scope.BOX, "", Measure.COST, Span.DAY, 5, is_background=False, by=desk.member)
    with pytest.raises(BadInput, match="above 0"):
        await add(Scope.BOX, "", Measure.COST, Span.DAY, 0, is_background=False, by=desk.owner)
    with pytest.raises(BadInput, match="Choose whom"):
        await add(Scope.MEMBER, "", Measure.COST, Span.DAY, 5, is_background=False, by=desk.owner)
    with pytest.raises(BadInput, match="removed meanwhile"):
        await add(Scope.GROUP, "gone", Measure.COST, Span.DAY, 5, is_background=False, by=desk.owner)
    with pytest.raises(NotFound):
        await desk.budgets.change("gone", 5, by=desk.owner)
    with pytest.raises(NotFound):
        await desk.budgets.remove("gone", by=desk.owner)


async def test_what_is_held_stays_held_over_a_restart_until_somebody_resumes_it(desk: Desk) -> None:
    runtime = rows.runtime(desk.member.id)
    await runtimes.add(desk.house.db, runtime)
    guard = BurnGuard(desk.house.db, desk.house.audit, keep=desk.keep)
    guard.circles._on_held(runtime.id, "it goes in circles")
    await asyncio.gather(*desk.noted)
    again = BurnGuard(desk.house.db, desk.house.audit, keep=desk.keep)
    await again.load()
    assert again.why(runtime.id) == "it goes in circles"
    await again.resume(runtime, by=desk.member)
    assert again.why(runtime.id) == ""
    last = BurnGuard(desk.house.db, desk.house.audit, keep=desk.keep)
    await last.load()
    assert last.why(runtime.id) == ""
    assert [each.action for each in await desk.house.audit.latest(2)] == [
        "background calls resumed",
        "background calls held",
    ]
