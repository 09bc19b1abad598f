"""Usage: what the journal holds reaches the store exactly once, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

from clawloops.clock import now_ms
from clawloops.control.ledger import Ledger, month_of
from clawloops.gateway.journal import Journal
from clawloops.model.usage import Call, Tokens
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


def test_a_month_ends_where_the_next_one_begins() -> None:
    december = 1_798_675_200_000  # 2026-12-31
    first, following = month_of(december)
    assert following - first == 31 * 86_400_000
    assert month_of(following)[0] == following
    assert month_of(following - 1) == (first, following)
