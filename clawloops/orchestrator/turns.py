"""Whose turn it is to be looked at, where many wait for it at once: as after a restart of the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

MOST = 16  # looks at a time: enough that the Engine and the store are never without one


class Turns:
    """So many at a time. Of those that wait, one that somebody is waiting for goes first, then whoever came first."""

    def __init__(self, is_wanted: Callable[[str], bool], *, most: int = MOST) -> None:
        """`is_wanted`: whether somebody waits for this runtime now. Asked again at each turn."""
        self._is_wanted = is_wanted
        self._free = most
        self._waiting: dict[str, asyncio.Future[None]] = {}  # by runtime id: a runtime is looked at once at a time

    @asynccontextmanager
    async def of(self, runtime_id: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the block."""
        await self._wait(runtime_id)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, runtime_id: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn = self._waiting[runtime_id] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given at that very moment
                self._pass_on()
            raise
        finally:
            self._waiting.pop(runtime_id, None)

    def _pass_on(self) -> None:
        waiting = {each: turn for each, turn in self._waiting.items() if not turn.done()}
        chosen = next(filter(self._is_wanted, waiting), next(iter(waiting), None))
        if chosen is None:
            self._free += 1
        else:
            waiting[chosen].set_result(None)
