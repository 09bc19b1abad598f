"""The two clocks, in milliseconds: one for what the store keeps, one for waits and limits in memory."""

import time


def now_ms() -> int:
    """Unix time. It jumps when somebody sets the clock."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Time since some moment before this process; it never jumps, and means nothing to another machine."""
    return time.monotonic_ns() // 1_000_000
