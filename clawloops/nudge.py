"""How a command beside the running control plane makes it look at once: a file in DATA whose time is read every second.

A lost nudge costs nothing but time: every runtime is looked at again within 30 s anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

EVERY_S = 1.0


def give(data: Path) -> None:
    """Tell whoever runs on this data that rows were changed. Raises OSError."""
    (data / "nudge").touch(mode=0o600)


async def take(data: Path, look: Callable[[], None]) -> None:
    """Until cancelled: call `look` within EVERY_S after each nudge."""
    seen = _time(data)
    while True:
        await asyncio.sleep(EVERY_S)
        now = _time(data)
        if now != seen:
            seen = now
            look()


def _time(data: Path) -> int:
    try:
        return (data / "nudge").stat().st_mtime_ns
    except FileNotFoundError:
        return 0
