"""The side that callers speak to, byte for byte: what is read as a request, and how it is answered."""

from __future__ import annotations

import logging
import re

import pytest

from clawloops.wire.request import Reply, Request
from tests.wire.line import GET, POST, sent, serving, statuses


@pytest.mark.parametrize("cut", range(1, len(POST), 7))
async def test_a_request_is_the_same_in_one_piece_and_in_two(cut: int) -> None:
    async with serving() as port:
        said = await sent(port, POST[:cut], POST[cut:])
    head, _, body = said.partition(b"\r\n\r\n")
    assert body == b"POST /a {}"
    assert re.fullmatch(rb"HTTP/1.1 200 OK\r\nDate: [^\r]+ GMT\r\nContent-Length: 10", head)


async def test_a_body_in_chunks_is_put_together_and_its_trailer_is_no_header() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: box\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving() as port:
        said = await sent(port, head, b"3\r\nabc\r\n2;x=y\r\n", b"de\r\n0\r\nMethod: GET\r\n\r\n", GET)
    assert said.count(b"POST /a abcde") == 1 and said.count(b"GET /g") == 1


@pytest.mark.parametrize(
    ("asked", "status"),
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
async def test_what_is_no_request_is_refused_and_nothing_after_it_is_read(asked: bytes, status: int) -> None:
    async with serving() as port:
        assert statuses(await sent(port, asked + GET)) == [status]


@pytest.mark.parametrize("target", [b"http://box/g?x", b"https://box:8/g"])
async def test_an_address_may_come_with_its_host(target: bytes) -> None:
    async with serving() as port:
        assert b"GET /g " in await sent(port, GET.replace(b"/g", target))


async def test_who_was_given_no_leave_to_send_a_body_is_sent_away() -> None:
    async def refuse(request: Request) -> Reply:
        return Reply(401, b"no")

    head = b"POST /a HTTP/1.1\r\nHost: box\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n"
    async with serving(refuse) as port:
        said = await sent(port, head, GET)
    assert statuses(said) == [401] and b"Connection: close" in said


async def test_javas_wish_for_http_2_is_passed_over() -> None:
    wish = b"POST /a HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 2\r\nHost: box\r\n"
    wish += b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nUpgrade: h2c\r\n\r\n"
    async with serving() as port:
        assert (await sent(port, wish, b"{}", GET)).count(b"POST /a {}") == 1
        assert statuses(await sent(port, (wish + b"{}") * 3 + GET)) == [200] * 4
        assert b"Connection: close" in await sent(
            port, wish.replace(b"Upgrade, HTTP2", b"close, Upgrade, HTTP2") + b"{}"
        )
        old = await sent(port, wish.replace(b"HTTP/1.1", b"HTTP/1.0") + b"{}")
        assert b"Connection: close" in old
        twice = wish.replace(b"Host: box", b"Host: box\r\nContent-Length: 2")
        assert statuses(await sent(port, twice + b"{}")) == [400]


async def test_a_caller_who_waits_for_leave_to_send_gets_it() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: box\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with serving() as port:
        assert statuses(await sent(port, head, b"{}")) == [100, 200]


async def test_an_old_caller_gets_no_chunks_and_an_end() -> None:
    async def stream(request: Request) -> None:
        request.begin({"X": "y"})
        await request.write(b"one ")
        await request.write(b"two")
        request.end()

    async with serving(stream) as port:
        old = await sent(port, b"GET /g HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        new = await sent(port, GET)
    assert old.endswith(b"Connection: close\r\n\r\none two") and b"chunked" not in old
    assert new.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_to_head_there_is_no_body() -> None:
    async with serving() as port:
        said = await sent(port, b"HEAD /h HTTP/1.1\r\nHost: box\r\n\r\n" + GET)
    assert said.count(b"HEAD /h") == 0 and b"Content-Length: 8\r\n\r\nHTTP/1.1 200" in said


async def test_a_fault_of_a_handler_is_logged_and_nothing_looks_finished(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(request: Request) -> None:
        if request.path == "/late":
            request.begin({})
            await request.write(b"half")
        raise RuntimeError("a bug")

    async with serving(fail) as port:
        assert statuses(await sent(port, GET)) == [500]
        said = await sent(port, b"GET /late HTTP/1.1\r\nHost: box\r\n\r\n")
    assert not said.endswith(b"0\r\n\r\n")
    assert [each.levelno for each in caplog.records] == [logging.ERROR] * 2


async def test_a_header_of_an_answer_with_a_line_break_is_never_sent() -> None:
    async def split(request: Request) -> Reply:
        return Reply(200, b"", {"X": "a\r\nSet-Cookie: b"})

    async with serving(split) as port:
        said = await sent(port, GET)
    assert statuses(said) == [500] and b"Set-Cookie" not in said
