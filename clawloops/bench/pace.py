"""Requests at a fixed rate, whatever becomes of the last one: `python -m clawloops.bench.pace PORT RATE SECONDS`.

The request's bytes come on standard input. Prints the milliseconds of each, from when it was due to the end of its
answer, as a JSON list; fails when one was not answered with 200.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

_OPEN = 4  # connections; of slow answers, more are opened


class _Line(asyncio.Protocol):
    """One connection to whoever answers with a Content-Length."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[float] | None = None
        self._said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    async def ask(self, request: bytes) -> float:
        """Returns the instant (monotonic, seconds) at which its answer was whole. Raises ConnectionError."""
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def data_received(self, data: bytes) -> None:
        self._said += data
        head, end, body = self._said.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length) or self._answered is None:
            return
        if head.startswith(b"HTTP/1.1 200 "):
            self._answered.set_result(time.monotonic())
        else:
            self._answered.set_exception(ConnectionError(f"it was answered {head[:60]!r}"))
        self._said = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("the connection was closed"))


async def main(port: int, rate: float, seconds: float, request: bytes) -> list[float]:
    loop = asyncio.get_running_loop()

    async def opened() -> _Line:
        return (await loop.create_connection(_Line, "127.0.0.1", port))[1]

    free = [await opened() for _ in range(_OPEN)]
    for each in free:
        await each.ask(request)

    async def once(due: float) -> float:
        while (left := due - time.monotonic()) > 0:  # noqa: ASYNC110  # the clock is what is waited for
            await asyncio.sleep(max(0.0, left - 0.002))  # a timer may be late by a millisecond or two
        line = free.pop() if free else await opened()
        took = await line.ask(request) - due
        free.append(line)
        return took * 1000

    begin = time.monotonic() + 0.1
    return await asyncio.gather(*(once(begin + number / rate) for number in range(round(rate * seconds))))


if __name__ == "__main__":
    asked = sys.stdin.buffer.read()
    print(json.dumps(uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), asked))))
