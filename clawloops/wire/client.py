"""The side that speaks to backends: one POST at a time on each of the connections that are kept to them.

It knows what a model backend needs and no more: no redirects, no cookies, no proxies, nothing unpacked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from types import TracebackType
from typing import NamedTuple, cast

import aiohappyeyeballs
import httptools
from aiohttp.abc import AbstractResolver
from yarl import URL

from clawloops.wire.answer import Answer, BrokenOff

_CONNECT_S = 10.0  # to one connection, its TLS included
_SILENCE_S = 300.0  # without a byte while one is waited for: a large model is loaded, a long prompt is read
_IDLE_S = 60.0  # that a connection is kept without a call
_EYEBALLS_S = 0.25  # before the next address of a name is tried beside the first (RFC 8305)
_MOST_HEADER = 64 * 1024  # bytes
_LONGEST_LENGTH = 20  # digits of a Content-Length
_COPIED = 64 * 1024  # bytes of a body up to which one write of head and body is cheaper than two


class Client:
    """Connections to all backends. Use it as an async context manager; leaving it cuts what is under way."""

    def __init__(self, resolver: AbstractResolver, *, silence_s: float = _SILENCE_S, idle_s: float = _IDLE_S) -> None:
        """`resolver`: of names, closed with it; an address in a URL is taken as it is."""
        self._resolver = resolver
        self._silence_s = silence_s
        self._idle_s = idle_s
        self._tls: ssl.SSLContext | None = None
        self._open: set[_Connection] = set()
        self._kept: dict[_Origin, list[_Connection]] = {}
        self._watch: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
        for connection in tuple(self._open):
            connection.fail("the gateway stops")
        await self._resolver.close()

    async def post(self, url: str, body: bytes, header: Mapping[str, str]) -> Answer:
        """The answer to it, once its header is there. Raises BrokenOff, ValueError for a field that is none.

        `header` names neither Host nor Content-Length.
        """
        origin, start = _target(url)
        head = _head(start, header, len(body))
        kept = self._kept.get(origin)
        connection = kept.pop() if kept else await self._connect(origin)
        return await connection.exchange(head, body)

    async def _connect(self, origin: _Origin) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_S):
                found = await self._addresses(origin)
                connected = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_EYEBALLS_S)
                name = origin.host if origin.tls else None
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, origin),
                    sock=connected,
                    ssl=self._trust() if origin.tls else None,
                    server_hostname=name,
                )
        except TimeoutError as error:
            raise BrokenOff(f"no connection to {origin.host}:{origin.port} within {_CONNECT_S:.0f} s") from error
        if self._watch is None:
            self._watch = loop.call_later(1, self._look)
        return connection

    async def _addresses(self, origin: _Origin) -> list[aiohappyeyeballs.AddrInfoType]:
        try:
            version = ip_address(origin.host).version
        except ValueError:
            found = await self._resolver.resolve(origin.host, origin.port, family=socket.AF_UNSPEC)
            return [_info(each["family"], each["host"], each["port"]) for each in found]
        return [_info(socket.AF_INET if version == 4 else socket.AF_INET6, origin.host, origin.port)]

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _look(self) -> None:
        """One timer for all connections, once a second while there are any."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._open):
            connection.look(now, silence_s=self._silence_s, idle_s=self._idle_s)
        self._watch = loop.call_later(1, self._look) if self._open else None

    def _opened(self, connection: _Connection) -> None:
        self._open.add(connection)

    def _keep(self, connection: _Connection) -> None:
        self._kept.setdefault(connection.origin, []).append(connection)

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        kept = self._kept.get(connection.origin, [])
        if connection in kept:
            kept.remove(connection)
            if not kept:
                del self._kept[connection.origin]


class _Origin(NamedTuple):
    tls: bool
    host: str
    port: int


class _Connection(asyncio.Protocol):
    """One connection. `_answer` is what it waits for or reads; None while it is kept for the next call."""

    def __init__(self, client: Client, origin: _Origin) -> None:
        self.origin = origin
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._unread = 0  # bytes since the last one of a body, or the end of the header
        self._is_paused = False
        self._is_kept = False  # whether the connection outlives its last answer
        self._idle_since = 0.0  # loop time

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        transport, answer = self._transport, Answer(self)
        if transport is None:
            raise BrokenOff("the backend closed the connection")
        self._answer = answer
        self._unread = 0
        try:
            if len(body) <= _COPIED:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
            while not answer.status:
                await answer.more()
        except BaseException:
            answer.close()  # not the connection: with the answer whole, it may be another call's already
            raise
        return answer

    def resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def fail(self, why: str) -> None:
        """Cut it. A call on it is told `why`."""
        self._client._forget(self)
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.end(BrokenOff(why))
            answer.wake()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def look(self, now: float, *, silence_s: float, idle_s: float) -> None:
        """Whether it was silent, or unused, for too long."""
        answer = self._answer
        if answer is None:
            if now - self._idle_since > idle_s:
                self.fail("unused")
        elif answer.is_waited_for and now - answer.since > silence_s:
            self.fail(f"it said nothing for {silence_s:.0f} s")

    # --- told by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._idle_since = asyncio.get_running_loop().time()
        self._client._opened(self)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(f"its answer is not HTTP/1.1: {error}")
            if answer is not None:  # it may have been whole before that
                answer.wake()
            return
        if answer is None:  # kept, or given up
            return
        if self._unread > _MOST_HEADER and self._answer is not None:
            self.fail("the header of its answer, or what follows it, is too long")
            return
        if self._answer is None:
            self._finished(answer)
        answer.wake()

    def _finished(self, answer: Answer) -> None:
        if self._is_kept and self._transport is not None and not self._transport.get_write_buffer_size():
            self.resume()
            self._idle_since = asyncio.get_running_loop().time()
            self._client._keep(self)
        else:
            self.fail("done")

    def eof_received(self) -> None:
        answer = self._answer
        if answer is not None and answer.status and not answer.ends_by_itself:  # a body that just ends
            self._answer = None
            answer.end()
            answer.wake()
        self.fail("the backend closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(f"the connection was lost: {exc}" if exc else "the backend closed the connection")

    # --- told by the parser, in `data_received`

    def on_message_begin(self) -> None:
        if self._answer is None:
            raise BrokenOff("an answer to no call")

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        if answer is not None and not answer.status:  # not a trailer
            answer.headers.setdefault(name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None:
            return
        self._unread = 0
        status = self._parser.get_status_code()
        if len(answer.headers.get("content-length", "")) > _LONGEST_LENGTH:
            raise BrokenOff("it announces a body of any length")
        if status >= 200:
            answer.status = status
        else:  # an interim answer (100, 103): the real one follows
            answer.headers.clear()

    def on_body(self, piece: bytes) -> None:
        self._unread = 0
        if self._answer is not None and self._answer.add(piece) and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is not None and answer.status:
            self._is_kept = self._parser.should_keep_alive()
            self._answer = None
            answer.end()


def _info(family: int, host: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    address = (host, port) if family == socket.AF_INET else (host, port, 0, 0)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


@lru_cache(maxsize=1024)
def _target(url: str) -> tuple[_Origin, bytes]:
    """Where a URL leads, and the beginning of a call to it. Raises ValueError."""
    parsed = URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.raw_host or parsed.port is None:
        raise ValueError(f"{parsed.origin() if parsed.absolute else url!r} is not the address of a backend")
    start = f"POST {parsed.raw_path_qs} HTTP/1.1\r\nHost: {parsed.host_port_subcomponent}\r\n"
    return _Origin(parsed.scheme == "https", parsed.raw_host, parsed.port), start.encode("ascii")


def _head(start: bytes, header: Mapping[str, str], length: int) -> bytes:
    text = "".join([f"{name}: {value}\r\n" for name, value in header.items()])
    fields = len(header)
    if text.count("\n") != fields or text.count("\r") != fields or "\0" in text:
        raise ValueError("a field of the header holds a line break")
    return b"%s%sContent-Length: %d\r\n\r\n" % (start, text.encode("utf-8", "surrogateescape"), length)
