"""The side that callers speak to, byte for byte: what is read as a request, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from clawloops.wire.request import CallerLeft, CutBody, Reply, Request, TooLarge
from clawloops.wire.server import Server

LIMIT = 1_000_000
Handler = Callable[[Request], Awaitable[Reply | None]]


async def echo(request: Request) -> Reply:
    """Tells what it understood."""
    try:
        body = await request.body(LIMIT)
    except TooLarge:
        return Reply(413, b"too large")
    except CutBody:
        return Reply(400, b"cut")
    return Reply(200, b"%b %b %b" % (request.method.encode(), request.path.encode(), body[:100]))


def _refused(status: int) -> Reply:
    return Reply(status, b"refused")


@asynccontextmanager
async def serving(handler: Handler = echo, *, idle_s: float = 75, takes_s: float = 30) -> AsyncIterator[int]:
    server = Server(handler, _refused, idle_s=idle_s, takes_s=takes_s)
    try:
        yield await server.listen("127.0.0.1", 0)
    finally:
        await server.close(within_s=0.1)


async def _sent(port: int, *pieces: bytes, within_s: float = 5) -> bytes:
    """What the server says until it closes the connection, or until a third of a second after the last byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.02)
    said = b""
    try:
        async with asyncio.timeout(within_s):
            while piece := await asyncio.wait_for(reader.read(65_536), 0.3):
                said += piece
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return said


def _statuses(said: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


POST = b"POST /a?b=c HTTP/1.1\r\nHost: box\r\nContent-Length: 2\r\n\r\n{}"
GET = b"GET /g HTTP/1.1\r\nHost: box\r\n\r\n"


@pytest.mark.parametrize("cut", range(1, len(POST), 7))
async def test_a_request_is_the_same_in_one_piece_and_in_two(cut: int) -> None:
    async with serving() as port:
        said = await _sent(port, POST[:cut], POST[cut:])
    head, _, body = said.partition(b"\r\n\r\n")
    assert body == b"POST /a {}"
    assert re.fullmatch(rb"HTTP/1.1 200 OK\r\nDate: [^\r]+ GMT\r\nContent-Length: 10", head)


async def test_what_was_sent_ahead_is_answered_in_its_turn() -> None:
    asked = b"".join(b"GET /%d HTTP/1.1\r\nHost: box\r\n\r\n" % number for number in range(10))
    async with serving() as port:
        said = await _sent(port, asked)
    assert re.findall(rb"GET /(\d)", said) == [b"%d" % number for number in range(10)]


async def test_only_so_much_may_be_sent_ahead() -> None:
    async with serving() as port:
        statuses = _statuses(await _sent(port, GET * 1000))
    assert statuses[-1] == 429 or statuses == [200] * len(statuses)
    assert len(statuses) <= 18


async def test_a_body_in_chunks_is_put_together_and_its_trailer_is_no_header() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: box\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving() as port:
        said = await _sent(port, head, b"3\r\nabc\r\n2;x=y\r\n", b"de\r\n0\r\nMethod: GET\r\n\r\n", GET)
    assert said.count(b"POST /a abcde") == 1 and said.count(b"GET /g") == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX Y: z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"CONNECT box:443 HTTP/1.1\r\nHost: box\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 6000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000, 431),
    ],
)
async def test_what_is_no_request_is_refused_and_nothing_after_it_is_read(sent: bytes, status: int) -> None:
    async with serving() as port:
        assert _statuses(await _sent(port, sent + GET)) == [status]


async def test_javas_wish_for_http_2_is_passed_over() -> None:
    wish = b"POST /a HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 2\r\nHost: box\r\n"
    wish += b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nUpgrade: h2c\r\n\r\n"
    async with serving() as port:
        assert (await _sent(port, wish, b"{}", GET)).count(b"POST /a {}") == 1
        assert _statuses(await _sent(port, (wish + b"{}") * 3 + GET)) == [200] * 4
        twice = wish.replace(b"Host: box", b"Host: box\r\nContent-Length: 2")
        assert _statuses(await _sent(port, twice + b"{}")) == [400]


async def test_a_caller_who_waits_for_leave_to_send_gets_it() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: box\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with serving() as port:
        assert _statuses(await _sent(port, head, b"{}")) == [100, 200]


async def test_an_old_caller_gets_no_chunks_and_an_end() -> None:
    async def stream(request: Request) -> None:
        request.begin({"X": "y"})
        await request.write(b"one ")
        await request.write(b"two")
        request.end()

    async with serving(stream) as port:
        old = await _sent(port, b"GET /g HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        new = await _sent(port, GET)
    assert old.endswith(b"Connection: close\r\n\r\none two") and b"chunked" not in old
    assert new.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_to_head_there_is_no_body() -> None:
    async with serving() as port:
        said = await _sent(port, b"HEAD /h HTTP/1.1\r\nHost: box\r\n\r\n" + GET)
    assert said.count(b"HEAD /h") == 0 and b"Content-Length: 8\r\n\r\nHTTP/1.1 200" in said


async def test_the_answer_to_too_much_arrives_while_the_caller_still_sends() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: box\r\nContent-Length: 20000000\r\n\r\n"
    async with serving() as port:
        said = await _sent(port, head, *([b"x" * 1_000_000] * 20), GET)
    assert _statuses(said) == [413, 200]


async def test_a_fault_of_a_handler_is_logged_and_nothing_looks_finished(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(request: Request) -> None:
        if request.path == "/late":
            request.begin({})
            await request.write(b"half")
        raise RuntimeError("a bug")

    async with serving(fail) as port:
        assert _statuses(await _sent(port, GET)) == [500]
        said = await _sent(port, b"GET /late HTTP/1.1\r\nHost: box\r\n\r\n")
    assert not said.endswith(b"0\r\n\r\n")
    assert [each.levelno for each in caplog.records] == [logging.ERROR] * 2


async def test_a_caller_who_leaves_cancels_the_handler() -> None:
    left = asyncio.Event()

    async def wait(request: Request) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            left.set()
            raise

    async with serving(wait) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.wait_for(left.wait(), 0.1)


async def test_a_caller_who_takes_nothing_is_cut() -> None:
    told: list[str] = []

    async def flood(request: Request) -> None:
        request.begin({})
        try:
            while True:
                await request.write(b"x" * 100_000)
        except (CallerLeft, asyncio.CancelledError) as error:
            told.append(type(error).__name__)
            raise

    async with serving(flood, takes_s=0.2) as port:
        with socket.create_connection(("127.0.0.1", port)) as lazy:
            lazy.sendall(GET)
            async with asyncio.timeout(3):
                while not told:
                    await asyncio.sleep(0.05)
    assert told == ["CancelledError"]


async def test_one_who_asks_on_and_on_and_reads_nothing_fills_no_memory() -> None:
    asked = 0

    async def large(request: Request) -> Reply:
        nonlocal asked
        asked += 1
        return Reply(200, b"x" * 1_000_000)

    async with serving(large, takes_s=0.5) as port:
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
    assert asked < 20


async def test_a_connection_without_a_request_is_closed_and_so_is_one_that_drips() -> None:
    async with serving(idle_s=0.3) as port:
        silent, writer = await asyncio.open_connection("127.0.0.1", port)
        dripped, drip = await asyncio.open_connection("127.0.0.1", port)
        used, user = await asyncio.open_connection("127.0.0.1", port)
        user.write(GET)
        for each in GET[:20]:
            drip.write(bytes([each]))
            await asyncio.sleep(0.05)
        for reader in (silent, dripped):
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 1) == b""
        assert b"GET /g" in await asyncio.wait_for(used.read(), 1)
        for each_writer in (writer, drip, user):
            each_writer.close()


async def test_at_the_end_an_answer_is_let_through_and_a_longer_one_is_cut() -> None:
    async def slow(request: Request) -> Reply:
        await asyncio.sleep(0.2 if request.path == "/g" else 10)
        return Reply(200, b"done")

    server = Server(slow, _refused)
    port = await server.listen("127.0.0.1", 0)
    short = asyncio.create_task(_sent(port, GET))
    long = asyncio.create_task(_sent(port, b"GET /long HTTP/1.1\r\nHost: box\r\n\r\n"))
    await asyncio.sleep(0.1)
    await server.close(within_s=0.4)
    assert b"Connection: close\r\n\r\ndone" in await short
    assert await long == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_peer_has_so_many_connections_and_gets_them_back() -> None:
    server = Server(echo, _refused, most_per_peer=2)
    port = await server.listen("127.0.0.1", 0)
    try:
        open_ = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert await _sent(port, GET) == b""
        open_[0][1].close()
        await asyncio.sleep(0.05)
        assert _statuses(await _sent(port, GET)) == [200]
        open_[1][1].close()
        await asyncio.sleep(0.05)
        assert server._peers == {}
    finally:
        await server.close(within_s=0.1)


async def test_a_header_of_an_answer_with_a_line_break_is_never_sent() -> None:
    async def split(request: Request) -> Reply:
        return Reply(200, b"", {"X": "a\r\nSet-Cookie: b"})

    async with serving(split) as port:
        said = await _sent(port, GET)
    assert _statuses(said) == [500] and b"Set-Cookie" not in said


async def test_calls_and_connections_leave_no_cycles_behind() -> None:
    async with serving() as port:
        await _sent(port, POST)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                for _ in range(10):
                    writer.write(POST)
                    await reader.readuntil(b"{}")
                writer.close()
                await writer.wait_closed()
            await asyncio.sleep(0.05)
            found = gc.get_objects()
            connections = [each for each in found if type(each).__name__ == "_Connection"]
            requests = [each for each in found if isinstance(each, Request)]
        finally:
            gc.enable()
    assert (len(connections), len(requests)) == (0, 0)
