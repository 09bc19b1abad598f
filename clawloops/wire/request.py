"""One request, whose body may still be on its way, and the way to answer it: whole, or piece by piece."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from clawloops.wire.pieces import Pieces

_MOST_HELD = 256 * 1024  # bytes of a body that wait for a handler to read them


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `header` names neither Content-Length nor Connection."""

    status: int
    body: bytes = b""
    header: Mapping[str, str] = field(default_factory=dict)


class Prepared:
    """A whole answer that is given again and again, on connections that stay."""

    __slots__ = ("_rest", "_status")

    def __init__(self, reply: Reply) -> None:
        """Raises ValueError for a field that is none."""
        self._status = reply.status
        self._rest = f"{_fields(reply.header)}Content-Length: {len(reply.body)}\r\n\r\n".encode() + reply.body

    def now(self) -> bytes:
        """All of its bytes, as it is given at this moment."""
        return _opening(self._status, int(time.time())) + self._rest


class TooLarge(Exception):
    """The body is larger than it may be."""


class CutBody(Exception):
    """The body broke off, or is not framed as HTTP/1.1 wants it."""


class CallerLeft(ConnectionAbortedError):
    """The caller's connection is closed."""


class Line(Protocol):
    """The connection that a request came on."""

    peer: str
    local: str
    is_full: bool  # whether so much waits to be taken that nothing more is to be written

    @property
    def stays(self) -> bool:
        """Whether there may be another request after this one."""

    def write(self, data: bytes) -> None:
        """Raises CallerLeft."""

    async def drain(self) -> None:
        """Until it is no longer full."""

    def resume(self) -> None:
        """Read on, after so much of a body was held that reading was paused."""

    def abort(self) -> None: ...


class Request:
    """A request, whose body may still be on its way, and the way to answer it."""

    __slots__ = (
        *("has_begun", "header", "is_whole", "keeps", "method", "path", "raw", "repeated"),
        *("_body", "_head", "_is_chunked", "_is_cut", "_is_dropped", "_is_old", "_line", "_size", "_waits", "_waiter"),
    )

    def __init__(
        self,
        line: Line,
        method: str,
        target: str,
        header: Mapping[str, str],
        *,
        repeated: Mapping[str, Sequence[str]],
        keeps: bool,
        is_old: bool,
    ) -> None:
        """`keeps`: whether the caller wants to keep the connection. `is_old`: whether it speaks HTTP/1.0."""
        self.method = method
        self.path = _path(target)
        self.header = header  # by lower-case name; of several of one name the first
        self.repeated = repeated  # by lower-case name: what came after the first
        self.is_whole = False  # whether all of the body is here
        self.has_begun = False  # whether anything of an answer has been sent
        self.keeps = keeps  # whether the connection outlives it
        self.raw = b""  # as it came, where `recall.AtOnce` may know it again: alone, in one piece, without a body
        self._line = line
        self._is_old = is_old
        self._body = Pieces()  # as far as it is here
        self._size = 0  # bytes of the body so far
        self._waits = header.get("expect", "").lower() == "100-continue"  # the caller, for leave to send it
        self._is_cut = False
        self._is_dropped = False  # whether nobody reads (the rest of) the body
        self._waiter: asyncio.Future[None] | None = None
        self._is_chunked = False  # the answer
        self._head = b""  # of an answer that has begun, until its first piece

    @classmethod
    def refuse(cls, line: Line, reply: Reply) -> None:
        """The answer to what was no request. Raises CallerLeft."""
        cls(line, "", "", {}, repeated={}, keeps=False, is_old=False).send(reply)

    @property
    def peer(self) -> str:
        """The caller's address."""
        return self._line.peer

    @property
    def local(self) -> str:
        """The address that the caller spoke to."""
        return self._line.local

    def all(self, name: str) -> list[str]:
        """Every value of a field of the header, by its lower-case name."""
        first = self.header.get(name)
        return [] if first is None else [first, *self.repeated.get(name, ())]

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, as announced; 0 where there is none, None where only its end will tell."""
        if "transfer-encoding" in self.header:
            return None
        return int(self.header.get("content-length", 0))  # llhttp has let digits through, and nothing else

    async def body(self, limit: int) -> bytes:
        """All of it. Raises TooLarge beyond `limit` bytes, CutBody."""
        if self._waits and not self._size and not self.is_whole:
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._waits = False
        while self._size <= limit and not self.is_whole:
            if self._is_cut:
                raise CutBody
            self._line.resume()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._size > limit:
            self.drop()
            raise TooLarge
        return self._body.take()

    # --- answering

    def send(self, reply: Reply) -> None:
        """The whole answer. Raises CallerLeft."""
        body = b"" if self.method == "HEAD" else reply.body
        length = "" if reply.status < 200 or reply.status == 204 else f"Content-Length: {len(reply.body)}\r\n"
        head = self._header(reply.status, reply.header, length)
        self.has_begun = True
        self._line.write(head + body)

    def begin(self, header: Mapping[str, str], *, length: int | None = None) -> None:
        """Begin an answer with status 200, of `length` bytes (None: of as many as will come). Nothing is sent yet."""
        framing = ""
        if length is not None:
            framing = f"Content-Length: {length}\r\n"
        elif not self._is_old:
            self._is_chunked = True
            framing = "Transfer-Encoding: chunked\r\n"
        else:
            self.keeps = False
        self._head = self._header(200, header, framing)

    async def write(self, piece: bytes) -> None:
        """Send a piece (not b"") of it, and wait while the caller does not take what was sent. Raises CallerLeft."""
        if self._is_chunked:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._head:
            self.has_begun = True
            piece, self._head = self._head + piece, b""
        self._line.write(piece)
        if self._line.is_full:
            await self._line.drain()

    def end(self) -> None:
        """After the last piece. Raises CallerLeft."""
        rest = self._head + (b"0\r\n\r\n" if self._is_chunked else b"")
        self.has_begun, self._head = True, b""
        if rest:
            self._line.write(rest)

    def abort(self) -> None:
        """Cut the connection, so that nothing looks finished."""
        self._line.abort()

    def _header(self, status: int, header: Mapping[str, str], framing: str) -> bytes:
        # A caller who never got leave to send its body may leave it out: its next bytes could be anything.
        self.keeps = self.keeps and self._line.stays and not (self._waits and not self.is_whole)
        end = "\r\n" if self.keeps else "Connection: close\r\n\r\n"
        rest = f"{_fields(header)}{framing}{end}"
        return _opening(status, int(time.time())) + rest.encode("utf-8", "surrogateescape")

    # --- told by the connection

    def add(self, piece: bytes) -> bool:
        """Returns whether more of the body is held than may wait."""
        self._size += len(piece)
        if self._is_dropped:
            return False
        self._body.add(piece)
        self._wake()
        return self._waiter is None and self._size > _MOST_HELD

    def complete(self) -> None:
        """All of the body is here."""
        self.is_whole = True
        self._wake()

    def cut(self) -> None:
        """No more of the body will come."""
        self._is_cut, self.keeps = True, False
        self._wake()

    def drop(self) -> None:
        """Nobody reads (the rest of) the body."""
        self._is_dropped = True
        self._body.take()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _path(target: str) -> str:
    """Without the query, and as it was sent: nothing is unescaped. RFC 9112, 3.2.2: it may come with the host."""
    if target.startswith(("http://", "https://")):
        target = "/" + target.partition("://")[2].partition("/")[2]
    return target.partition("?")[0]


def _fields(header: Mapping[str, str]) -> str:
    """Raises ValueError for a field that is none."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in header.items()])
    if "\r" in fields.replace("\r\n", "") or fields.count("\n") != len(header):
        raise ValueError("a field of the header holds a line break")
    return fields


@lru_cache(maxsize=16)
def _opening(status: int, second: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}\r\nDate: {formatdate(second, usegmt=True)}\r\n".encode()
