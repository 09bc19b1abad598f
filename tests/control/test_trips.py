"""Trips to an identity provider and back: what is remembered of used ones, and for how long."""

from __future__ import annotations

import pytest

from clawloops.clock import steady_ms
from clawloops.control import trips
from clawloops.control.trips import VALID_MS, Purpose, Trip, Trips
from clawloops.errors import BadInput


def test_used_ones_are_forgotten_once_they_have_ended_and_looked_through_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = now = steady_ms() + VALID_MS
    monkeypatch.setattr(trips, "steady_ms", lambda: now)
    made, trip = Trips(), Trip(Purpose.SIGN_IN, "https://a", "c", 1)

    def use() -> str:
        state = made.begin(trip, tied_to="t").state
        assert made.end(state, tied_to="t")[0] == trip
        return state

    use()
    kept = made._used
    for now in (began + 1, began + 59_999):  # noqa: B007  # the clock
        used = use()
        with pytest.raises(BadInput):
            made.end(used, tied_to="t")
    assert made._used is kept and len(kept) == 3, "not looked through at each return"
    now = began + VALID_MS + 30_000
    use()
    assert len(made._used) == 2, "the one that has not ended, and this one"
