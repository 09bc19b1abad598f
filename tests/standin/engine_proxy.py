"""A Docker socket with faults to order: real bytes to and from the real Engine, and a test that rules on each call.

It runs in a thread of its own, so a test that blocks never holds up the Engine's answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

_IDS = re.compile(r"/[0-9a-f]{64}(?=/|$)")
_ENDS = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError)


class Moment(StrEnum):
    BEFORE = "before"  # the Engine never hears of the call
    DURING = "during"  # the Engine has the call, and nobody waits for its answer
    AFTER = "after"  # the Engine has done it, and its answer is not passed on


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changes something (POST, PUT, DELETE), or `number` 0."""

    number: int  # of the changing calls since the script was set, from 1
    method: str
    path: str  # without version prefix
    query: str  # "" for none

    def __str__(self) -> str:
        return f"{self.number}. {self.method} {_IDS.sub('/<id>', self.path)}"

    @property
    def changes(self) -> bool:
        return self.method in ("POST", "PUT", "DELETE")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a call. `do` runs in a thread and may block; `passes`: the call then goes on as ever."""

    at: Moment
    do: Callable[[], object]
    passes: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answered in the Engine's place; the Engine never hears of the call."""

    status: int
    message: str


Script = Callable[[Call], Fault | Refusal | None]


class EngineProxy:
    """Listens at `url` between `with` and its end. Without a script every call goes through untouched."""

    def __init__(self, target: str, socket: Path) -> None:
        self.url = f"unix://{socket}"
        self.calls: list[Call] = []  # the changing ones, in the order of asking, since the script was set
        self.events_pass = True  # False: the event stream stays open and tells nothing
        self._target = target.removeprefix("unix://")
        self._socket = socket
        self._script: Script | None = None
        self._streams: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="fault")
        self._thread = threading.Thread(target=self._run, name="engine-proxy", daemon=True)

    def __enter__(self) -> Self:
        listening = threading.Event()
        self._loop.call_soon(lambda: self._loop.create_task(self._listen(listening)))
        self._thread.start()
        assert listening.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def script(self, script: Script | None) -> None:
        """Rule on every call from now on; the count of changing calls begins again."""
        self.calls = []
        self._script = script

    def hang(self, seconds: float) -> Callable[[], object]:
        """Something for `Fault.do`."""
        return lambda: self._closing.wait(seconds)

    def cut_events(self) -> None:
        """Break every open event stream."""
        for each in list(self._streams):
            self._loop.call_soon_threadsafe(each.transport.abort)

    def _run(self) -> None:
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for each in tasks:
            each.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _listen(self, listening: threading.Event) -> None:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._serve(reader, writer))
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)

        async with await asyncio.start_unix_server(accept, self._socket) as server:
            listening.set()
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(*_ENDS):
            up = _Pair(*await asyncio.open_unix_connection(self._target))
            watch = asyncio.create_task(_left(reader, up))
            try:
                while await self._one(_Pair(reader, writer), up, watch):
                    pass
            finally:
                watch.cancel()
                up.writer.transport.abort()
        writer.transport.abort()

    async def _one(self, down: _Pair, up: _Pair, watch: asyncio.Task[None]) -> bool:
        """One request and its answer; whether another may follow on this connection."""
        head = await down.reader.readuntil(b"\r\n\r\n")
        method, target = head.split(b" ", 2)[:2]
        path, _, query = re.sub(r"^/v\d+\.\d+(?=/)", "", target.decode()).partition("?")
        call = Call(0, method.decode(), path, query)
        if call.changes:
            call = replace(call, number=len(self.calls) + 1)
            self.calls.append(call)
        fault = self._script(call) if self._script else None
        if isinstance(fault, Refusal):
            await _body(head, down.reader, None)
            body = json.dumps({"message": fault.message}).encode()
            line = f"HTTP/1.1 {fault.status} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            down.writer.write(line.encode() + body)
            await down.writer.drain()
            return True
        if fault and fault.at is Moment.BEFORE and not await self._happens(fault):
            return False
        up.writer.write(head)
        await _body(head, down.reader, up.writer)
        if fault and fault.at is Moment.DURING and not await self._happens(fault):
            return False
        answer = await up.reader.readuntil(b"\r\n\r\n")
        if fault and fault.at is Moment.AFTER:
            kept = _Kept()
            await _body(answer, up.reader, kept, answer_to=call.method)
            if not await self._happens(fault):
                return False
            down.writer.write(answer + bytes(kept.data))
            await down.writer.drain()
            return True
        down.writer.write(answer)
        if answer.split(b" ", 2)[1] == b"101":
            watch.cancel()
            await asyncio.gather(_pipe(down.reader, up.writer), _pipe(up.reader, down.writer))
            return False
        if call.path == "/events":
            return await self._events(down, up)
        await _body(answer, up.reader, down.writer, answer_to=call.method)
        return True

    async def _events(self, down: _Pair, up: _Pair) -> bool:
        self._streams.add(down.writer)
        try:
            while data := await up.reader.read(65536):
                if self.events_pass:
                    down.writer.write(data)
                    await down.writer.drain()
        finally:
            self._streams.discard(down.writer)
        return False

    async def _happens(self, fault: Fault) -> bool:
        await self._loop.run_in_executor(self._threads, fault.do)
        return fault.passes


@dataclass(frozen=True, slots=True)
class _Pair:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _Kept:
    """Takes an answer in place of the client."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        return


async def _left(reader: asyncio.StreamReader, up: _Pair) -> None:
    """The Engine sees at once that its client died, as it would without us."""
    while not reader.at_eof():
        await asyncio.sleep(0.02)
    up.writer.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _body(
    head: bytes, reader: asyncio.StreamReader, to: asyncio.StreamWriter | _Kept | None, *, answer_to: str = ""
) -> None:
    """Pass on the body that follows `head` (RFC 9112, 6.3), piece by piece as it comes."""
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if answer_to == "HEAD" or (answer_to and head.split(b" ", 2)[1] in (b"204", b"304")):
        return
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            await _pass(line + await reader.readexactly(size + 2), to)
    elif b"content-length" in fields:
        left = int(fields[b"content-length"])
        while left:
            data = await reader.read(min(left, 65536))
            if not data:
                raise ConnectionResetError
            left -= len(data)
            await _pass(data, to)
    elif answer_to:
        while data := await reader.read(65536):
            await _pass(data, to)
        raise ConnectionResetError  # its end was the end of the connection


async def _pass(data: bytes, to: asyncio.StreamWriter | _Kept | None) -> None:
    if to is not None:
        to.write(data)
        await to.drain()
