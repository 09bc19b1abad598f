"""Budgets, prices, pulls and held runtimes, on both databases; what of a budget is used, by the ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.errors import Conflict
from clawloops.model.budget import Budget, Measure, Scope, Span
from clawloops.model.key import ApiKey
from clawloops.model.library import Pull, PullState
from clawloops.model.provider import Place
from clawloops.model.report import day_of
from clawloops.model.usage import Price, Tokens, Total
from clawloops.store import (
    backends,
    budgets,
    groups,
    held,
    keys,
    models,
    prices,
    pulls,
    runtimes,
    usage,
    usage_days,
    users,
)
from clawloops.store.db import Database
from clawloops.store.prices import Listed
from tests.store import rows
from tests.store.rows import NOW


def _budget(
    scope: Scope, subject: str = "", measure: Measure = Measure.TOKENS, *, is_background: bool = False
) -> Budget:
    id_ = f"l-{scope}-{measure}-{is_background}"
    return Budget(id_, scope, subject, measure, Span.MONTH, 1000, is_background, NOW)


@pytest.fixture
async def filled(db: Database) -> Database:
    for login in ("ada", "bob", "eve"):
        await users.add(db, rows.user(login))
    await backends.add(db, rows.backend(watts=300, memory_mb=24_576))
    await models.add(db, rows.model())
    await groups.add(db, rows.group("design", "u-ada", "u-bob"))
    await keys.add(db, ApiKey("k-ada", "u-ada", "laptop", bytes(32), "cl-", frozenset(), NOW, 0))
    return db


async def test_a_budget_comes_back_and_goes_with_whom_it_is_for(filled: Database) -> None:
    made = [
        _budget(Scope.BOX), _budget(Scope.EACH, is_background=True), _budget(Scope.MEMBER, "u-eve", Measure.COST),
        _budget(Scope.GROUP, "g-design", Measure.GPU_MS), _budget(Scope.KEY, "k-ada"), _budget(Scope.MODEL, "m-small"),
    ]  # fmt: skip
    for each in made:
        await budgets.add(filled, each)
    assert sorted(await budgets.all(filled), key=lambda each: each.id) == sorted(made, key=lambda each: each.id)
    for scope in (Scope.MEMBER, Scope.GROUP, Scope.KEY, Scope.MODEL):
        with pytest.raises(Conflict):
            await budgets.add(filled, replace(_budget(scope, "gone"), id="l-gone"))
    assert await budgets.set_amount(filled, made[0].id, 5) and not await budgets.set_amount(filled, "gone", 5)
    assert next(each.amount for each in await budgets.all(filled) if each.scope is Scope.BOX) == 5
    await groups.delete(filled, "g-design")
    await keys.delete(filled, "k-ada", "u-ada")
    await models.delete(filled, "m-small")
    await filled.execute("DELETE FROM users WHERE id = $1", "u-eve")
    assert {each.scope for each in await budgets.all(filled)} == {Scope.BOX, Scope.EACH}
    assert await budgets.delete(filled, made[0].id) and not await budgets.delete(filled, made[0].id)


@pytest.mark.parametrize("span", Span)
async def test_what_is_used_of_a_budget_is_summed_for_whom_it_counts(filled: Database, span: Span) -> None:
    first, following = span.around(NOW)
    calls = [
        rows.call(tokens=Tokens(100, 20), cost=7, held_ms=30, key_id="k-ada", runtime_id=""),
        rows.call(tokens=Tokens(5, 1), cost=2, held_ms=4, user_id="u-bob", is_background=True, energy_mwh=9, images=2),
        rows.call(tokens=Tokens(3, 0), user_id="u-eve", model="large"),
        rows.call(tokens=Tokens(9_000, 0), at=first - 1),
        rows.call(tokens=Tokens(9_000, 0), at=following),  # by a clock that stood ahead
    ]
    await usage.settle(filled, calls, log="usage", offset=1)

    async def used(*arguments: object, **more: bool) -> dict[str, int]:
        return await usage.used(filled, replace(_budget(*arguments, **more), span=span), NOW)  # type: ignore[arg-type]

    assert await used(Scope.BOX) == {"": 129}
    assert await used(Scope.EACH) == {"u-ada": 120, "u-bob": 6, "u-eve": 3}
    assert await used(Scope.EACH, "", is_background=True) == {"u-bob": 6}
    assert await used(Scope.MEMBER, "u-ada", Measure.COST) == {"": 7}
    assert await used(Scope.GROUP, "g-design", Measure.GPU_MS) == {"": 34}
    assert await used(Scope.GROUP, "g-design", Measure.REQUESTS) == {"": 2}
    assert await used(Scope.KEY, "k-ada") == {"": 120}
    assert await used(Scope.MODEL, "m-small") == {"": 126}
    assert await used(Scope.MEMBER, "u-nobody") == {"": 0}
    today = range(day_of(NOW), day_of(NOW) + 1)
    assert await usage_days.total(filled, today, "u-bob") == Total(1, 5, 1, cost=2, held_ms=4, energy_mwh=9)


async def test_a_price_is_replaced_and_goes_with_its_backend(filled: Database) -> None:
    place = Place("b-local", "small:latest")
    await prices.put(filled, {place: Listed(Price(1, 2, 3), is_own=False)})
    await prices.put(filled, {place: Listed(Price(4, 5, 6), is_own=True)})
    assert await prices.all(filled) == {place: Listed(Price(4, 5, 6), is_own=True)}
    with pytest.raises(Conflict):
        await prices.put(filled, {Place("b-gone", "x"): Listed(Price(), is_own=False)})
    await prices.delete(filled, place)
    await prices.delete(filled, place)
    assert await prices.all(filled) == {}
    await prices.put(filled, {place: Listed(Price(1, 2, 3), is_own=False)})
    await backends.delete(filled, "b-local")
    assert await prices.all(filled) == {}


async def test_pulls_are_kept_while_they_run_and_the_latest_of_those_that_ended(filled: Database) -> None:
    for number in range(14):
        pull = Pull(f"q{number:02}", "b-local", f"m{number}", True, PullState.RUNNING, "", "u-ada", NOW + number, 0)
        await pulls.add(filled, pull)
        if number != 3:
            await pulls.end(filled, pull.id, PullState.FAILED, "no such model", NOW + number)
    assert [each.id for each in await pulls.running(filled)] == ["q03"]
    kept = [each.id for each in await pulls.of(filled, "b-local")]
    assert kept == [f"q{number:02}" for number in range(13, 1, -1)]  # ten ended before the last began, and q03 runs
    await pulls.end(filled, "q13", PullState.DONE, "", NOW)
    latest = (await pulls.of(filled, "b-local"))[0]
    assert (latest.state, latest.note, latest.is_offered) == (PullState.FAILED, "no such model", True)
    await backends.delete(filled, "b-local")
    assert await pulls.running(filled) == []


async def test_a_held_runtime_stays_so_until_it_is_released_or_gone(filled: Database) -> None:
    await runtimes.add(filled, rows.runtime())
    await held.put(filled, "r-u-ada", "it goes in circles", NOW)
    await held.put(filled, "r-u-ada", "still", NOW + 1)
    assert await held.all(filled) == {"r-u-ada": "still"}
    with pytest.raises(Conflict):
        await held.put(filled, "r-gone", "why", NOW)
    await held.delete(filled, "r-u-ada")
    assert await held.all(filled) == {}


async def test_a_backends_load_is_kept(filled: Database) -> None:
    await backends.set_load(filled, "b-local", slots=2, watts=450, memory_mb=49_152)
    (backend,) = await backends.all(filled)
    assert (backend.slots, backend.watts, backend.memory_mb) == (2, 450, 49_152)
    assert backend.energy_mwh(3_600_000) == 225_000
