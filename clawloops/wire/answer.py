"""What a backend answers: its header at once, its body as it comes."""

from __future__ import annotations

import asyncio
from typing import Protocol

from clawloops.wire.pieces import Pieces

_MOST_HELD = 256 * 1024  # bytes that wait for whoever reads them


class BrokenOff(OSError):
    """The backend could not be reached, said what is not HTTP/1.1, fell silent, or closed in mid-answer."""


class Line(Protocol):
    """The connection that an answer comes on."""

    def resume(self) -> None:
        """Read on, after so much was held that reading was paused."""

    def fail(self, why: str) -> None:
        """Cut it."""


class Answer:
    """A backend's answer. Close it when done with it: what is not read to its end cuts its connection."""

    __slots__ = ("_body", "_connection", "_error", "_waiter", "headers", "is_whole", "since", "status")

    def __init__(self, connection: Line) -> None:
        self.status = 0  # until the header is there
        self.headers: dict[str, str] = {}  # by lower-case name; of several of one name the first
        self.is_whole = False  # whether its last byte has come
        self.since = 0.0  # loop time at which a byte began to be waited for
        self._connection: Line | None = connection  # until all of it has come
        self._body = Pieces()  # what has come and was not read
        self._waiter: asyncio.Future[None] | None = None
        self._error: BrokenOff | None = None

    @property
    def content_length(self) -> int | None:
        """Bytes of its body, as announced."""
        length = self.headers.get("content-length")
        return None if length is None else int(length)  # llhttp has let digits through, and nothing else

    @property
    def ends_by_itself(self) -> bool:
        """Whether the framing tells a finished body from a cut one (HTTP/1.0 bodies just end)."""
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    @property
    def is_waited_for(self) -> bool:
        return self._waiter is not None

    async def readany(self) -> bytes:
        """What has come of the body, at least a byte; b"" at its end. Raises BrokenOff."""
        while not self._body:
            if self.is_whole:
                return b""
            await self.more()
        body = self._body.take()
        if self._connection is not None:
            self._connection.resume()
        return body

    def close(self) -> None:
        """No more of it is read."""
        if self._connection is not None:
            self._connection.fail("the call was given up")

    async def more(self) -> None:
        """Until something has come. Raises BrokenOff."""
        if self._error is None:
            loop = asyncio.get_running_loop()
            self.since = loop.time()
            self._waiter = loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._error is not None:
            raise self._error

    def add(self, piece: bytes) -> bool:
        """Returns whether as much is held as may be."""
        self._body.add(piece)
        return len(self._body) > _MOST_HELD

    def end(self, error: BrokenOff | None = None) -> None:
        """All of it has come, or nothing more will."""
        self._connection = None
        self._error = error
        self.is_whole = error is None

    def wake(self) -> None:
        """Tell who waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
