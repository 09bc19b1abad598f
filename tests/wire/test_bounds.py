"""What one caller may take of the gateway: memory, time, connections; and what becomes of calls at its end."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import tracemalloc
from contextlib import suppress

import pytest

from clawloops.wire.request import CallerLeft, Reply, Request
from clawloops.wire.server import Server
from tests.wire.line import GET, LIMIT, POST, echo, refused, sent, serving, statuses


async def test_what_was_sent_ahead_is_answered_in_its_turn() -> None:
    asked = b"".join(b"GET /%d HTTP/1.1\r\nHost: box\r\n\r\n" % number for number in range(10))
    async with serving() as port:
        said = await sent(port, asked)
    assert re.findall(rb"GET /(\d)", said) == [b"%d" % number for number in range(10)]


async def test_only_so_much_may_be_sent_ahead() -> None:
    async with serving() as port:
        told = statuses(await sent(port, GET * 1000))
    assert told[-1] == 429 or told == [200] * len(told)
    assert len(told) <= 18


async def test_a_trailer_is_bounded_too() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: box\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nT: "
    async with serving() as port:
        assert statuses(await sent(port, head, *([b"a" * 100_000] * 10))) == [400]  # the body was cut
        ahead = await sent(port, GET + head, *([b"a" * 100_000] * 10))
    assert statuses(ahead) in ([200], [200, 400])  # as the answer or the trailer is sooner


async def test_bodies_before_their_turn_are_bounded_together() -> None:
    busy = asyncio.Event()

    async def wait(request: Request) -> Reply:
        await busy.wait()
        return await echo(request)

    async with serving(wait) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + POST.replace(b"Content-Length: 2", b"Content-Length: 200000") + b"x" * 200_000)
        await asyncio.sleep(0.1)
        busy.set()
        said = await asyncio.wait_for(reader.read(), 2)
        writer.close()
    assert statuses(said) == [200] and b"Connection: close" in said


async def test_a_body_of_tiny_chunks_takes_no_more_memory_than_its_bytes() -> None:
    held: list[int] = []

    async def weigh(request: Request) -> Reply:
        body = await request.body(LIMIT)
        held.append(len(body))
        return Reply(200, str(tracemalloc.get_traced_memory()[1]).encode())

    head = b"POST /a HTTP/1.1\r\nHost: box\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(weigh) as port:
        tracemalloc.start()
        said = await sent(port, head + b"2\r\nab\r\n" * 200_000 + b"0\r\n\r\n")
        tracemalloc.stop()
    assert held == [400_000]
    assert int(said.rpartition(b"\r\n")[2]) < 12_000_000  # with what was sent, and the streams of this test


async def test_a_length_of_very_many_digits_is_refused() -> None:
    async with serving() as port:
        asked = POST.replace(b"Length: 2", b"Length: " + b"0" * 5000 + b"2")
        assert statuses(await sent(port, asked)) == [400]


async def test_the_answer_to_too_much_arrives_while_the_caller_still_sends() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: box\r\nContent-Length: 20000000\r\n\r\n"
    async with serving() as port:
        said = await sent(port, head, *([b"x" * 1_000_000] * 20), GET)
    assert statuses(said) == [413, 200]


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


async def test_a_caller_who_takes_little_at_a_time_is_not_cut() -> None:
    async def large(request: Request) -> Reply:
        return Reply(200, b"x" * 20_000_000)

    taken = 0
    async with serving(large, takes_s=0.3) as port:
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(GET)
            slow.setblocking(False)
            begun = asyncio.get_running_loop().time()
            while taken < 20_000_000:
                await asyncio.sleep(0.01)
                with suppress(BlockingIOError):
                    piece = slow.recv(100_000)
                    assert piece, f"cut after {taken} bytes"
                    taken += len(piece)
    assert asyncio.get_running_loop().time() - begun > 1


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

    server = Server(slow, refused)
    port = await server.listen("127.0.0.1", 0)
    short = asyncio.create_task(sent(port, GET))
    long = asyncio.create_task(sent(port, b"GET /long HTTP/1.1\r\nHost: box\r\n\r\n"))
    await asyncio.sleep(0.1)
    await server.close(within_s=0.4)
    assert b"Connection: close\r\n\r\ndone" in await short
    assert await long == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_at_the_end_nothing_that_waits_its_turn_is_begun() -> None:
    seen: list[str] = []

    async def stream(request: Request) -> None:
        seen.append(request.path)
        request.begin({}, length=4)
        await request.write(b"he")
        await asyncio.sleep(0.2)
        await request.write(b"re")
        request.end()

    server = Server(stream, refused)
    port = await server.listen("127.0.0.1", 0)
    asked = asyncio.create_task(sent(port, GET + POST))
    await asyncio.sleep(0.1)
    await server.close(within_s=1)
    assert seen == ["/g"] and (await asked).endswith(b"here")
    assert not server._connections


async def test_a_peer_has_so_many_connections_and_gets_them_back() -> None:
    server = Server(echo, refused, most_per_peer=2)
    port = await server.listen("127.0.0.1", 0)
    try:
        open_ = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert await sent(port, GET) == b""
        open_[0][1].close()
        await asyncio.sleep(0.05)
        assert statuses(await sent(port, GET)) == [200]
        open_[1][1].close()
        await asyncio.sleep(0.05)
        assert server._peers == {}
    finally:
        await server.close(within_s=0.1)


async def test_calls_and_connections_leave_no_cycles_behind() -> None:
    async with serving() as port:
        await sent(port, POST)
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
