"""Too many wrong passwords make one wait, and never longer than the window, whatever the clock does."""

from __future__ import annotations

import time

import pytest

from clawloops.control.throttle import PER_ACCOUNT, WINDOW_MS, Throttle
from clawloops.errors import TooManyAttempts

DAY_NS = 86_400 * 10**9


def test_a_clock_that_is_set_back_a_day_makes_nobody_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle, real = Throttle(), time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + DAY_NS)
    for _ in range(PER_ACCOUNT):
        throttle.failed("mia", "192.0.2.1")
    monkeypatch.setattr(time, "time_ns", real)
    with pytest.raises(TooManyAttempts) as refusal:
        throttle.check("mia", "192.0.2.1")
    assert refusal.value.retry_after_s <= WINDOW_MS / 1000
