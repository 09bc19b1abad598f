"""The side that callers speak to: connections, requests with their bodies, and replies, whole or piece by piece.

One request of a connection is answered at a time; what was sent ahead of its turn waits, within bounds. A caller who
leaves cancels the handler. Bytes that llhttp does not take for HTTP/1.1 end the connection.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import cast

import httptools

from clawloops.wire.request import CallerLeft, Reply, Request

_MOST_HEADER = 32 * 1024  # bytes
_MOST_AHEAD = 16  # requests that one connection may have sent before their turn
_LINGER_S = 10.0  # that is read on after an answer that came early: cut at once, the caller might miss it
_log = logging.getLogger(__name__)


Handler = Callable[[Request], Awaitable[Reply | None]]
"""Answers a request: with the reply, or with None where it has begun and ended one itself."""


class Server:
    """One listening socket."""

    def __init__(
        self,
        handler: Handler,
        refused: Callable[[int], Reply],
        *,
        idle_s: float = 75.0,
        takes_s: float = 30.0,
        most_per_peer: int = 0,
    ) -> None:
        """`refused(status)`: the answer to what is no request at all (400, 429, 431), and to one that broke us (500).

        A connection is closed after `idle_s` without a whole header, at its start and between two requests, and after
        `takes_s` in which the caller takes nothing of an answer. A peer that keeps `most_per_peer` of them open gets no
        other one (0: as many as it likes).
        """
        self.handler = handler
        self.refused = refused
        self.idle_s = idle_s
        self.takes_s = takes_s
        self.is_closing = False
        self._most_per_peer = most_per_peer
        self._peers: dict[str, int] = {}
        self._connections: set[_Connection] = set()
        self._listening: asyncio.Server | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Returns the port, for a `port` of 0 the one that was free. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        self._look()
        found: int = self._listening.sockets[0].getsockname()[1]
        return found

    async def close(self, *, within_s: float) -> None:
        """Take no more calls; running ones get `within_s`, and are cancelled then."""
        self.is_closing = True
        if self._watch is not None:
            self._watch.cancel()
        if self._listening is not None:
            self._listening.close()
        for connection in tuple(self._connections):
            connection.close_when_idle()
        tasks = [each.task for each in self._connections if each.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        for connection in tuple(self._connections):
            connection.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self) -> None:
        """One timer for all connections."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            if now > connection.deadline:
                connection.abort()
        self._watch = loop.call_later(min(1.0, self.idle_s, self.takes_s), self._look)

    def _opened(self, connection: _Connection) -> bool:
        """Returns whether it may stay."""
        self._connections.add(connection)
        open_ = self._peers[connection.peer] = self._peers.get(connection.peer, 0) + 1
        return not 0 < self._most_per_peer < open_

    def _lost(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._peers[connection.peer] -= 1
        if not self._peers[connection.peer]:
            del self._peers[connection.peer]


class _Connection(asyncio.Protocol):
    """One caller's connection."""

    def __init__(self, server: Server) -> None:
        self.peer = self.local = ""
        self.task: asyncio.Task[None] | None = None  # answers a request
        self.deadline = math.inf  # loop time at which it is cut; moved on by what is awaited
        self.is_full = False
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None  # None once it is closed
        self._parser = httptools.HttpRequestParser(self)
        self._ahead: deque[Request] = deque()  # not yet answered, nor being answered
        self._incoming: Request | None = None  # whose body is on its way
        self._is_last = False  # whether the answer that was sent was the last one
        self._refusal = 0  # status of what could not be read as a request; nothing is read after it
        self._is_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._unread = 0  # bytes of a header that has not come to its end
        self._target = b""
        self._header: dict[str, str] = {}
        self._repeated: set[str] = set()
        self._header_size = 0

    @property
    def stays(self) -> bool:
        return not self._refusal and not self._server.is_closing

    def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise CallerLeft
        self._transport.write(data)

    async def drain(self) -> None:
        self._drained = self._loop.create_future()
        self.deadline = self._loop.time() + self._server.takes_s
        try:
            await self._drained
        finally:
            self._drained, self.deadline = None, math.inf

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

    # --- told by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        self.local = (transport.get_extra_info("sockname") or ("",))[0]
        self.deadline = self._loop.time() + self._server.idle_s
        if not self._server._opened(self):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        del self._parser  # it holds methods of ours: a cycle
        self._server._lost(self)
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
        self._target, self._header, self._repeated = b"", {}, set()
        self._header_size = 0

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        self._grow(len(piece))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._incoming is not None:  # a trailer
            return
        self._grow(len(name) + len(value) + 4)
        key = _lower(name)
        if key in self._header:
            self._repeated.add(key)
        else:
            self._header[key] = value.decode("utf-8", "surrogateescape")

    def on_headers_complete(self) -> None:
        parser = self._parser
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _Refused(400)
        self._unread = 0
        if parser.should_upgrade():  # see `_feed`
            return
        if len(self._ahead) >= _MOST_AHEAD:
            raise _Refused(429)
        self._incoming = request = Request(
            self,
            parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._header,
            repeated=frozenset(self._repeated),
            keeps=version == "1.1" and parser.should_keep_alive(),
            is_old=version == "1.0",
        )
        self._ahead.append(request)

    def on_body(self, piece: bytes) -> None:
        if self._incoming is not None and self._incoming.add(piece) and not self._is_paused:
            self._is_paused = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, None
        self._unread = 0
        if request is not None:
            request.complete()
            if self.task is None:  # it was answered before its end
                self.deadline = self._loop.time() + self._server.idle_s

    # --- inside

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
        if self._incoming is not None:
            self._unread = 0
        elif self._unread > _MOST_HEADER:
            raise _Refused(431)

    def _without_upgrade(self) -> bytes:
        method = self._parser.get_method()
        if self._repeated or method == b"CONNECT":
            raise _Refused(400)
        fields = [f"{name}: {value}\r\n" for name, value in self._header.items() if name not in _OF_UPGRADE]
        header = "".join(fields).encode("utf-8", "surrogateescape")
        self._parser = httptools.HttpRequestParser(self)
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self._target, header)

    def _grow(self, size: int) -> None:
        self._header_size += size
        if self._header_size > _MOST_HEADER:
            raise _Refused(431)

    def _next(self) -> None:
        """Answer the next request; with none left, what was no request."""
        if self._transport is None:
            return
        if self._is_last:
            if self._incoming is None:
                self._transport.close()
        elif self._ahead:
            self.deadline = math.inf
            self.task = self._loop.create_task(self._answer(self._ahead.popleft()))
        elif self._refusal:
            Request(self, "", "", {}, repeated=frozenset(), keeps=False, is_old=False).send(
                self._server.refused(self._refusal)
            )
            self._transport.write_eof()  # not closed yet: unread bytes would take the answer with them
            self.deadline = self._loop.time() + _LINGER_S

    async def _answer(self, request: Request) -> None:
        try:
            reply = await self._server.handler(request)
            if reply is not None:
                request.send(reply)
            if self.is_full:
                await self.drain()
        except CallerLeft:
            self.abort()
        except Exception:  # noqa: BLE001 - whatever a handler's bug is, its caller gets an answer
            _log.exception("a request was not answered")
            if request.has_begun:
                self.abort()
            else:
                request.send(self._server.refused(500))
        finally:
            self.task = None
            self._answered(request)

    def _answered(self, request: Request) -> None:
        if self._transport is None:
            return
        request.drop()
        self.resume()
        self.deadline = self._loop.time() + (self._server.idle_s if request.is_whole else _LINGER_S)
        self._is_last = not request.keeps
        self._next()


class _Refused(Exception):
    """What came is no request that is answered."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


_OF_UPGRADE = frozenset(("upgrade", "connection", "http2-settings"))


@lru_cache(maxsize=1024)
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()
