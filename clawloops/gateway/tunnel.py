"""Carries bytes between a runtime and a host, as fast as the slower one takes them, and counts them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

_PIECE = 64 * 1024  # bytes
IDLE_S = 15 * 60.0  # without a byte in either direction
_HALF_CLOSED_S = 60.0  # that one side may still speak after the other has ended

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Tunnel:
    def __init__(self, runtime: Ends, onward: Ends, *, moved: Callable[[int, int], None]) -> None:
        """`moved(sent, received)`: so many bytes more went from the runtime, and to it."""
        self._runtime = runtime
        self._onward = onward
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    def is_idle(self, now: float) -> bool:
        """`now`: loop time."""
        return now - self._last > IDLE_S

    def abort(self) -> None:
        for _, writer in (self._runtime, self._onward):
            writer.transport.abort()

    async def both(self) -> None:
        """Until both sides have ended, or one of them for a minute in which the other says nothing. Raises OSError."""
        await self._together(self._send(None))

    async def request(self, head: bytes, length: int) -> None:
        """One request with a body of `length` bytes, and all that is answered. Raises OSError."""
        self._onward[1].write(head)
        self._moved(len(head), 0)
        await self._together(self._send(length))

    async def _together(self, sending: Coroutine[Any, Any, None]) -> None:
        tasks = {self._loop.create_task(sending), self._loop.create_task(self._receive())}
        try:
            pending = tasks
            while pending:
                ended = len(pending) < len(tasks)
                done, pending = await asyncio.wait(
                    pending, timeout=_HALF_CLOSED_S if ended else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                if ended and not done and self._loop.time() - self._last > _HALF_CLOSED_S:
                    return
            await self._flush()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _flush(self) -> None:
        """What was written last is still to be taken."""
        for _, writer in (self._runtime, self._onward):
            writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_HALF_CLOSED_S):
                for _, writer in (self._runtime, self._onward):
                    await writer.wait_closed()

    async def _send(self, length: int | None) -> None:
        """From the runtime to the host; after `length` bytes only the runtime's end is waited for."""
        reader, writer = self._runtime[0], self._onward[1]
        while length is None or length > 0:
            piece = await reader.read(_PIECE if length is None else min(_PIECE, length))
            if not piece:
                break
            await self._pass(writer, piece)
            self._moved(len(piece), 0)
            length = None if length is None else length - len(piece)
        if length == 0 and await reader.read(1):
            return  # a second request: it is not passed on
        with suppress(OSError):
            writer.write_eof()

    async def _receive(self) -> None:
        reader, writer = self._onward[0], self._runtime[1]
        while piece := await reader.read(_PIECE):
            await self._pass(writer, piece)
            self._moved(0, len(piece))
        with suppress(OSError):
            writer.write_eof()

    async def _pass(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        self._last = self._loop.time()
        writer.write(piece)
        await writer.drain()
