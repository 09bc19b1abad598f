"""Usage: what the journal holds reaches the store exactly once, whatever happens in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from clawloops.clock import now_ms
from clawloops.control.ledger import Ledger
from clawloops.gateway.journal import Journal, Record
from clawloops.model.budget import Span
from clawloops.model.report import Month
from clawloops.model.usage import Call, Opened, Progress, Tokens, Total
from tests.control.conftest import House


def _call(number: int, user_id: str) -> Call:
    return Call(
        id=f"{number:032x}",
        at=now_ms(),
        user_id=user_id,
        runtime_id="r0",
        model="tiny",
        backend_id="b0",
        tokens=Tokens(input=100, output=7, cached=20, reasoning=3),
        status=200,
        first_ms=12,
        total_ms=90,
    )


async def test_settled_calls_are_counted_once_over_a_restart(house: House, tmp_path: Path) -> None:
    user, _ = await house.join("ada")
    journal = Journal(tmp_path / "usage.log")
    ledger = Ledger(house.db, journal)
    for number in range(3):
        journal.append(_call(number, user.id))
    assert await ledger.fold() == 3
    journal.append(_call(3, user.id))
    journal.append(_call(3, user.id))  # settled twice
    journal.close()

    journal = Journal(tmp_path / "usage.log")
    total = await Ledger(house.db, journal).total_of(user.id)
    journal.close()
    assert (total.calls, total.input, total.output, total.cached, total.reasoning) == (4, 400, 28, 80, 12)


OPENED = Opened("a" * 32, now_ms(), "u0", "r0", "", "tiny", "b0", 40, 120, 0, is_background=False)


async def test_a_call_that_ended_with_its_process_is_charged_as_far_as_it_was_seen(
    house: House, tmp_path: Path
) -> None:
    user, _ = await house.join("ada")
    journal = Journal(tmp_path / "usage.log")
    before = Ledger(house.db, journal)
    records: list[Record] = [
        replace(OPENED, user_id=user.id),
        replace(OPENED, id="b" * 32, user_id=user.id),
        Progress("b" * 32, "b1", 7, 141, 1000, 900, 75),
        _call(1, user.id),
    ]
    for number, record in enumerate(records):
        journal.append(record)
        assert await before.fold() == (number == 3)  # folded past the open ones
    journal.append(Progress("b" * 32, "b1", 9, 147, 2000, 1900, 158))
    after = Ledger(house.db, journal)
    assert await after.settle_lost() == 2
    assert await Ledger(house.db, journal).settle_lost() == 0
    total = await after.total_of(user.id)
    journal.close()
    assert total == Total(3, 100 + 40 + 40, 7 + 9, 20, 3, cost=120 + 147, held_ms=1900, energy_mwh=158, failed=2)


async def test_a_large_journal_begins_anew_with_the_calls_that_are_open(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawloops.control.ledger._LARGE", 1000)
    monkeypatch.setattr("clawloops.control.ledger.FOLD_EVERY_S", 0.01)
    user, _ = await house.join("ada")
    journal = Journal(tmp_path / "usage.log")
    ledger = Ledger(house.db, journal)
    journal.append(replace(OPENED, user_id=user.id))
    journal.append(Progress(OPENED.id, "b1", 7, 141, 1000, 900, 75))
    running = asyncio.create_task(ledger.run())
    for number in range(200):
        journal.append(_call(number, user.id))
        if number % 10 == 0:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        while journal.size > 1000:
            await asyncio.sleep(0.01)
    assert (await ledger.total_of(user.id)).calls == 200
    running.cancel()
    again = Ledger(house.db, Journal(tmp_path / "usage.log"))
    assert await again.settle_lost() == 1
    total = await again.total_of(user.id)
    assert (total.calls, total.output, total.held_ms) == (201, 200 * 7 + 7, 900)
    journal.close()


def test_a_month_ends_where_the_next_one_begins() -> None:
    december = 1_798_675_200_000  # 2026-12-31
    first, following = Span.MONTH.around(december)
    assert following - first == 31 * 86_400_000
    assert Span.MONTH.around(following)[0] == following
    assert Span.MONTH.around(following - 1) == (first, following)


async def test_first_words_are_counted_anew_after_ten_seconds(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, _ = await house.join("ada")
    journal, month = Journal(tmp_path / "usage.log"), Month.around(now_ms())
    sums = Ledger(house.db, journal)
    now = 1_000
    monkeypatch.setattr("clawloops.control.ledger.steady_ms", lambda: now)
    journal.append(_call(1, user.id))
    (counted,) = (await sums.first_words(month)).values()
    journal.append(_call(2, user.id))
    now += 9_999
    assert (await sums.first_words(month))["tiny"] == counted and sum(counted.values()) == 1
    now += 1
    assert sum((await sums.first_words(month))["tiny"].values()) == 2
    assert await sums.first_words(month.earlier) == {}
    journal.close()
