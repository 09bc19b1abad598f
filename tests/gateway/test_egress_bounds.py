"""The bounds of the egress proxy: what one runtime can hold of it, and how connections end."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.gateway import asking as questions
from clawloops.gateway import egress, receipts, tunnel
from clawloops.model.egress import Mode, Outcome
from tests.gateway.test_egress import GET, out, until
from tests.gateway.way_out import ADA, MANY, MIA, WayOut, open_way_out, until_cut

__all__ = ["out"]


async def test_a_runtime_that_gives_up_no_longer_waits(out: WayOut) -> None:
    out.set(asks=True)
    _, writer = await out.connect()
    writer.write(b"CONNECT new.test:443 HTTP/1.1\r\n\r\n")
    await until(lambda: any(each.waiting for each in out.asking.of("u-ada")))
    writer.close()
    await until(lambda: not any(each.waiting for each in out.asking.of("u-ada")))


async def test_questions_are_bounded_whatever_a_runtime_asks_for(out: WayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "WAITS_S", 0.05)
    out.set(asks=True)
    for number in range(questions.MOST + 5):
        await out.ask(f"CONNECT h{number}.test:443 HTTP/1.1\r\n\r\n".encode())
    assert len(out.asking.of("u-ada")) == questions.MOST


async def test_refused_places_are_bounded_and_hide_none_that_was_reached(out: WayOut) -> None:
    out.set()
    out.rules("example.org")
    for number in range(receipts.MOST_REFUSED + 20):
        await out.ask(f"CONNECT h{number}.test:443 HTTP/1.1\r\n\r\n".encode())
    assert (await out.ask(GET)).endswith(b"there")
    noted = out.receipts.take()
    assert len(noted) == receipts.MOST_REFUSED + 2
    assert next(each for each in noted if each.host == receipts.ELSEWHERE).connections == 20
    assert next(each for each in noted if each.outcome is Outcome.PASSED).host == "example.org"


async def test_a_runtime_that_begins_too_many_connections_is_slowed_down_and_others_are_not(
    out: WayOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "BURST", 5)
    monkeypatch.setattr(egress, "PER_S", 2)
    out.set(Mode.OPEN)
    out.set(Mode.OPEN, user_id="u-mia")
    answers = [await out.ask(GET) for _ in range(8)]
    assert answers[0].endswith(b"there") and b"" in answers
    assert (await out.ask(GET, source=MIA)).endswith(b"there")
    await asyncio.sleep(0.6)
    assert (await out.ask(GET)).endswith(b"there")


async def test_all_runtimes_together_keep_so_many_open() -> None:
    async with open_way_out(most=2) as out:
        out.set(Mode.OPEN)
        out.set(Mode.OPEN, user_id="u-mia")
        held = [await out.tunnel("example.org:443") for _ in range(2)]
        assert await out.ask(GET, source=MIA) == b""
        for _, _, writer in held:
            writer.close()


async def test_a_runtime_that_is_reset_takes_its_tunnel_along(out: WayOut) -> None:
    out.set(Mode.OPEN)
    _, _, writer = await out.tunnel("example.org:443")
    writer.write(b"ECHO")
    await until(lambda: out.host.open)
    writer.transport.abort()
    await until(lambda: not out.host.open)


async def test_a_host_that_says_nothing_more_is_not_waited_for(out: WayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "_HALF_CLOSED_S", 0.2)
    out.set(Mode.OPEN)
    _, reader, writer = await out.tunnel("example.org:443")
    writer.write(b"WAIT")
    writer.write_eof()
    assert await until_cut(reader) == b""
    writer.close()


async def test_a_slow_reader_gets_all_of_it(out: WayOut) -> None:
    out.set(Mode.OPEN)
    _, reader, writer = await out.tunnel("example.org:443")
    writer.write(b"MANY")
    writer.write_eof()
    size = 0
    while piece := await reader.read(4096):
        size += len(piece)
        if size < 400_000:
            await asyncio.sleep(0.001)
    assert size == MANY
    writer.close()


async def test_a_runtime_keeps_so_many_connections_open_and_no_more(
    out: WayOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "MOST_CONNECTIONS", 4)
    out.set(Mode.OPEN)
    held = [await out.tunnel("example.org:443") for _ in range(4)]
    assert await out.ask(GET) == b""
    out.set(Mode.OPEN, user_id="u-mia")
    assert (await out.ask(GET, source=MIA)).endswith(b"there"), "others go on"
    held[0][2].close()
    async with asyncio.timeout(5):
        while await out.ask(GET) == b"":
            await asyncio.sleep(0.01)
    for _, _, writer in held:
        writer.close()


async def test_slow_names_of_one_workspace_do_not_hold_up_another(out: WayOut) -> None:
    out.set(Mode.OPEN)
    out.set(Mode.OPEN, user_id="u-mia")
    out.internet.slow.add("slow.test")
    slow = [asyncio.create_task(out.ask(b"CONNECT slow.test:443 HTTP/1.1\r\n\r\n")) for _ in range(8)]
    await until(lambda: out.internet.asked.count("slow.test") == 8)
    assert (await out.ask(GET, source=MIA)).endswith(b"there")
    for each in slow:
        each.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_host_that_does_not_answer_is_said_to(out: WayOut) -> None:
    out.set(Mode.OPEN)
    out.internet.host_port = 9
    assert (await out.ask(GET)).startswith(b"HTTP/1.1 502 ")
    assert out.outcomes() == [("example.org", 80, Outcome.FAILED)]


async def test_a_head_that_does_not_come_ends_the_connection(out: WayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "HEAD_WITHIN_S", 0.1)
    assert (await out.ask(b"GET http://exa")).startswith(b"HTTP/1.1 408 ")


async def test_closing_ends_what_is_open(out: WayOut) -> None:
    out.set(Mode.OPEN)
    _, reader, writer = await out.tunnel("example.org:443", source=ADA)
    writer.write(b"ECHOx")
    await reader.readexactly(1)
    await out.proxy.close(within_s=2)
    await until(lambda: not out.host.open)
