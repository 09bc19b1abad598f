"""The short way, past the parser: which bytes it is shown, and that whatever else is sent is read as ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clawloops.wire.request import Prepared, Reply, Request
from clawloops.wire.server import Server
from tests.wire.line import GET, POST, refused, sent, statuses

_ANSWER = Prepared(Reply(200, b"known", {"X": "y"}))


class _Host:
    """Knows GET once it was read, and notes what it was shown and what it read."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []
        self.read: list[tuple[str, bytes]] = []
        self.knows: set[bytes] = set()
        self.slow_s = 0.0

    async def handle(self, request: Request) -> Reply:
        self.read.append((request.path, request.raw))
        if request.raw:
            self.knows.add(request.raw)
        await asyncio.sleep(self.slow_s)
        return Reply(200, b"read %b" % await request.body(1000))

    def at_once(self, data: bytes) -> bytes | None:
        self.shown.append(data)
        return _ANSWER.now() if data in self.knows else None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = Server(self.handle, refused, at_once=self.at_once)
        try:
            yield await server.listen("127.0.0.1", 0)
        finally:
            await server.close(within_s=0.1)


async def test_what_was_read_before_is_answered_at_once_and_alike() -> None:
    host = _Host()
    async with host.serving() as port:
        said = await sent(port, GET, GET, GET)
    assert [path for path, _ in host.read] == ["/g"] and host.shown == [GET] * 3
    assert said.count(b"HTTP/1.1 200 OK\r\nDate: ") == 3
    assert said.count(b" GMT\r\nX: y\r\nContent-Length: 5\r\n\r\nknown") == 2


@pytest.mark.parametrize(
    "pieces",
    [
        (GET[:10], GET[10:]),
        (GET + GET,),
        (GET + b"GET /h",),
        (POST,),
        (POST[:-2], POST[-2:]),
        (b"GET /g HTTP/1.1\r\nHost: box\r\nContent-Length: 0\r\n\r\n",),
        (b"GET /g HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
        (b"GET /g HTTP/1.1\r\nHost: box\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",),
        (b"\r\n\r\n" + GET,),
        (b"GET /g HTTP/1.1\nHost: box\n\nGET /h HTTP/1.1\r\nHost: box\r\n\r\n",),
        (b"GET /g HTTP/1.1\r\nHost: box\n\r\n\r\n",),
    ],
)
async def test_only_the_header_of_one_request_alone_may_be_remembered(pieces: tuple[bytes, ...]) -> None:
    host = _Host()
    async with host.serving() as port:
        await sent(port, *pieces)
    assert host.knows == set()


async def test_the_middle_of_a_request_is_never_taken_for_one() -> None:
    host = _Host()
    host.knows.add(GET)
    head = b"POST /a HTTP/1.1\r\nHost: box\r\nContent-Length: %d\r\n\r\n" % (2 * len(GET))
    async with host.serving() as port:
        said = await sent(port, head, GET, GET, GET)
        assert said.count(b"read " + GET + GET) == 1 and said.count(b"known") == 1
        chunks = await sent(port, b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(GET), GET)
        assert b"known" not in chunks
        assert b"known" not in await sent(port, b"GET /x HTTP/1.1\r\nX: y\r\n", GET)
    assert host.shown.count(GET) == 1


async def test_its_turn_is_kept_while_another_answer_is_under_way() -> None:
    host = _Host()
    host.knows.add(GET)
    host.slow_s = 0.1
    async with host.serving() as port:
        said = await sent(port, POST, GET)
    assert [path for path, _ in host.read] == ["/a", "/g"]
    assert said.index(b"read {}") < said.index(b"read ", said.index(b"read {}") + 1)


async def test_after_the_last_answer_and_after_a_refusal_nothing_more_is_answered() -> None:
    host = _Host()
    host.knows.add(GET)
    async with host.serving() as port:
        last = await sent(port, GET.replace(b"Host", b"Connection: close\r\nHost"), GET)
        assert statuses(last) == [200] and b"known" not in last
        assert statuses(await sent(port, b"nonsense\r\n\r\n", GET)) == [400]
        assert statuses(await sent(port, b"\r\n" * 20_000, GET)) == [431]
    assert GET not in host.shown


async def test_a_fault_on_the_short_way_leaves_the_long_one(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(request: Request) -> Reply:
        return Reply(200, b"read")

    def fail(data: bytes) -> bytes | None:
        raise RuntimeError("a bug")

    server = Server(handle, refused, at_once=fail)
    port = await server.listen("127.0.0.1", 0)
    assert (await sent(port, GET)).endswith(b"read")
    await server.close(within_s=0.1)
    assert "a bug" in caplog.text


async def test_one_who_reads_nothing_fills_no_memory_there_either() -> None:
    large = Prepared(Reply(200, b"x" * 1_000_000))
    asked = 0

    async def handle(request: Request) -> Reply:
        return Reply(200, b"read")

    def answer(data: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return large.now()

    server = Server(handle, refused, takes_s=0.3, at_once=answer)
    port = await server.listen("127.0.0.1", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        async with asyncio.timeout(3):
            while True:
                writer.write(GET)
                await writer.drain()
                await asyncio.sleep(0.01)
    except (ConnectionError, TimeoutError):
        pass
    writer.close()
    await server.close(within_s=0.1)
    assert 0 < asked < 20


def test_a_prepared_answer_with_a_line_break_in_a_field_is_never_made() -> None:
    with pytest.raises(ValueError, match="line break"):
        Prepared(Reply(200, b"", {"X": "a\r\nSet-Cookie: b"}))
