"""One caller's connection: what llhttp reads on it becomes requests, answered one at a time in their order."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import socket
import sys
import termios
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache
from typing import Protocol, cast

import httptools

from clawloops.wire.request import CallerLeft, Reply, Request

_MOST_HEADER = 32 * 1024  # bytes; also of a trailer, and of anything else that is neither
_MOST_FIELDS = 128
_MOST_AHEAD = 16  # requests that may be sent before their turn
_MOST_AHEAD_SIZE = 64 * 1024  # bytes of them, their bodies included
_LINGER_S = 10.0  # that is read on after an answer that came early: cut at once, the caller might miss it
_LONGEST_LENGTH = 20  # digits of a Content-Length
_log = logging.getLogger(__name__)


class Host(Protocol):
    """The server that a connection belongs to."""

    idle_s: float
    takes_s: float
    is_closing: bool
    handler: Callable[[Request], Awaitable[Reply | None]]
    refused: Callable[[int], Reply]

    def opened(self, connection: Connection) -> bool:
        """Returns whether it may stay."""

    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    def __init__(self, host: Host) -> None:
        self.peer = self.local = ""
        self.task: asyncio.Task[None] | None = None  # answers a request
        self.is_full = False
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None  # None once it is closed
        self._parser = httptools.HttpRequestParser(self)
        self._deadline = math.inf  # loop time at which it is cut; moved on by what is awaited
        self._ahead: deque[Request] = deque()  # that came before their turn
        self._ahead_size = 0  # bytes of them
        self._incoming: Request | None = None  # whose body is on its way
        self._is_last = False  # whether the answer that was sent was the last one
        self._refusal = 0  # status of what could not be read as a request; nothing is read after it
        self._is_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._untaken = 0  # bytes of answers that waited to be taken at the last look
        self._unread = 0  # bytes since the last one of a body, or the last end of a header
        self._target = b""
        self._header: dict[str, str] = {}
        self._repeated: dict[str, list[str]] = {}
        self._header_size = 0

    @property
    def stays(self) -> bool:
        return not self._refusal and not self._host.is_closing

    def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise CallerLeft
        self._transport.write(data)

    async def drain(self) -> None:
        self._drained = self._loop.create_future()
        self._untaken = _queued(cast(asyncio.Transport, self._transport))
        self._wait(self._host.takes_s)
        try:
            await self._drained
        finally:
            self._drained, self._deadline = None, math.inf

    def resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close_when_idle(self) -> None:
        if self.task is None and self._transport is not None:
            self._transport.close()

    def look(self, now: float) -> None:
        """Cut it when what it waits for has not come in time. `now`: loop time."""
        if self._drained is not None and self._transport is not None:
            untaken = _queued(self._transport)
            if untaken < self._untaken:
                self._untaken = untaken
                self._wait(self._host.takes_s)
        if now > self._deadline:
            self.abort()

    # --- told by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        self.local = (transport.get_extra_info("sockname") or ("",))[0]
        with suppress(OSError):  # a caller that vanished without a word is found out in the end
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._wait(self._host.idle_s)
        if not self._host.opened(self):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        del self._parser  # it holds methods of ours: a cycle
        self._host.lost(self)
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._refusal:
            return
        self._unread += len(data)
        try:
            self._feed(data)
        except _Refused as refused:
            self._refusal = refused.status
            if self._incoming is not None:
                self._incoming.cut()
                self._incoming = None
        if self.task is None:
            self._next()

    # --- told by the parser, in `data_received`

    def on_message_begin(self) -> None:
        self._target, self._header, self._repeated = b"", {}, {}
        self._header_size = 0

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        self._grow(len(piece))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._incoming is not None:  # a trailer
            return
        self._grow(len(name) + len(value) + 4)
        key = _lower(name) if len(name) < 64 else name.decode("latin-1").lower()
        text = value.decode("utf-8", "surrogateescape")
        if key in self._header:
            self._repeated.setdefault(key, []).append(text)
        elif len(self._header) < _MOST_FIELDS:
            self._header[key] = text
        else:
            raise _Refused(431)

    def on_headers_complete(self) -> None:
        parser = self._parser
        version = parser.get_http_version()
        if (
            version not in ("1.1", "1.0")
            or self._is_last  # whoever was told so sends nothing more
            or len(self._header.get("content-length", "")) > _LONGEST_LENGTH
        ):
            raise _Refused(400)
        self._unread = 0
        if parser.should_upgrade():  # see `_feed`
            return
        self._incoming = request = Request(
            self,
            parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._header,
            repeated=self._repeated,
            keeps=version == "1.1" and parser.should_keep_alive(),
            is_old=version == "1.0",
        )
        self._ahead.append(request)
        if self.task is None:
            self._next()
        else:
            self._grow_ahead(self._header_size)

    def on_body(self, piece: bytes) -> None:
        self._unread = 0
        request = self._incoming
        if request is None:
            return
        if self._ahead and self._ahead[-1] is request:
            self._grow_ahead(len(piece))
        if request.add(piece) and not self._is_paused:
            self._is_paused = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, None
        self._unread = 0
        if request is not None:
            request.complete()
            if self.task is None:  # it was answered before its end
                self._wait(self._host.idle_s)

    # --- inside

    def _wait(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds

    def _feed(self, data: bytes) -> None:
        """Raises _Refused."""
        while data:
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                # Java's client asks for HTTP/2 on its first request. llhttp reads no body then, so it gets the request
                # once more, without the wish.
                data = self._without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                raise error.__context__ if isinstance(error.__context__, _Refused) else _Refused(400) from error
        if self._unread > _MOST_HEADER:
            raise _Refused(431)

    def _without_upgrade(self) -> bytes:
        method, version = self._parser.get_method(), self._parser.get_http_version()
        if self._repeated or method == b"CONNECT":
            raise _Refused(400)
        fields = {name: value for name, value in self._header.items() if name not in ("upgrade", "http2-settings")}
        wishes = [each.strip() for each in fields.get("connection", "").split(",")]
        fields["connection"] = ", ".join(each for each in wishes if each.lower() not in ("upgrade", "http2-settings"))
        header = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        self._parser = httptools.HttpRequestParser(self)
        return b"%b %b HTTP/%b\r\n%b\r\n" % (
            method, self._target, version.encode(), header.encode("utf-8", "surrogateescape"),
        )  # fmt: skip

    def _grow(self, size: int) -> None:
        self._header_size += size
        if self._header_size > _MOST_HEADER:
            raise _Refused(431)

    def _grow_ahead(self, size: int) -> None:
        self._ahead_size += size
        if self._ahead_size > _MOST_AHEAD_SIZE or len(self._ahead) > _MOST_AHEAD:
            raise _Refused(429)

    def _next(self) -> None:
        """Answer the next request; with none left, what was no request."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._is_last or self._host.is_closing:
            if self._incoming is None:
                self._part(transport)
        elif self._ahead:
            request = self._ahead.popleft()
            if not self._ahead:
                self._ahead_size = 0
            self._deadline = math.inf
            self.task = self._loop.create_task(self._answer(request))
        elif self._refusal:
            Request.refuse(self, self._host.refused(self._refusal))
            self._part(transport)

    def _part(self, transport: asyncio.Transport) -> None:
        """The last answer is given. Closed while bytes are unread, the connection would take the answer with it."""
        if not self._refusal:
            transport.close()
            return
        self._wait(_LINGER_S)
        with suppress(OSError):  # the caller has closed it already
            transport.write_eof()

    async def _answer(self, request: Request) -> None:
        try:
            await self._try(request)
        except CallerLeft:
            self.abort()
        finally:
            self.task = None
            self._answered(request)

    async def _try(self, request: Request) -> None:
        """Raises CallerLeft."""
        try:
            reply = await self._host.handler(request)
            if reply is not None:
                request.send(reply)
            if self.is_full:
                await self.drain()
        except CallerLeft:
            raise
        except Exception:  # noqa: BLE001 - whatever a handler's bug is, its caller gets an answer
            _log.exception("a request was not answered")
            if request.has_begun:
                self.abort()
            else:
                request.send(self._host.refused(500))

    def _answered(self, request: Request) -> None:
        if self._transport is None:
            return
        request.drop()
        self.resume()
        self._wait(self._host.idle_s if request.is_whole else _LINGER_S)
        self._is_last = not request.keeps
        self._next()


class _Refused(Exception):
    """What came is no request that is answered."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _queued(transport: asyncio.Transport) -> int:
    """Bytes that the caller has not taken, of our buffer and of the kernel's (tcp(7), SIOCOUTQ)."""
    raw = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return transport.get_write_buffer_size() + int.from_bytes(raw, sys.byteorder)


@lru_cache(maxsize=1024)
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()
