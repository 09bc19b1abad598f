"""Ten thousand malformed requests, from a member who means harm, while another one works: none of it is noticed.

The gateway runs in a process of its own. Each request is drawn from a seed that a failure names; most of them are a
valid call with one or two things done to it that have broken HTTP servers or JSON readers before (RFC 9112, 11.2).
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from clawloops.gateway.journal import Journal
from clawloops.model.usage import Call
from tests.gateway.gate import KEY, TOKEN
from tests.gateway.killable import ADDRESS_OF_BOB, TOKEN_OF_BOB, start
from tests.upstream import Script, Upstream

REQUESTS = 10_000
AT_ONCE = 40
CHAT = b"/v1/chat/completions"
PATHS = (CHAT, b"/v1/completions", b"/v1/messages", b"/v1/responses", b"/v1/embeddings", b"/api/chat", b"/api/show")
SAID_TO_BOB = "only for the eyes of Bob"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_GROWTH = 16 * 1024 * 1024  # bytes that the gateway may have grown from the first fifth to the end
_OTHER = b"GET /v1/models HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"

Header = list[tuple[bytes, bytes]]


def _deep(rng: random.Random) -> bytes:
    depth = rng.choice((10, 300, 1100, 20_000))
    return b'{"model":"ada","messages":' + b"[" * depth + b"]" * depth + b"}"


def _twice(rng: random.Random) -> bytes:
    names = [b'"ada"', b'"nobody"', b"null", b"7", b'["ada"]', b'{"model":"ada"}', b'"ada\\u0000"']
    rng.shuffle(names)
    return b'{"model":%b,"mod\\u0065l":%b,"messages":[],"model":%b}' % tuple(names[:3])


def _own_key(rng: random.Random) -> bytes:
    field = rng.choice(("api_key", "api_base", "base_url", "extra_headers", "extra_body", "headers", "mcp_servers"))
    return b'{"model":"ada","messages":[],"%b":"http://127.0.0.1:9/"}' % field.encode()


def _odd_values(rng: random.Random) -> bytes:
    field = rng.choice(("messages", "stream", "stream_options", "tools", "max_tokens", "metadata", "input", "model"))
    value = rng.choice(("null", "-1", "1e400", "true", "[[]]", '{"a":[]}', '"\\ud800"', "99999999999999999999", "[{}]"))
    return b'{"model":"ada","messages":[{"role":"user","content":"x"}],"%b":%b}' % (field.encode(), value.encode())


def _flipped(rng: random.Random) -> bytes:
    raw = bytearray(b'{"model":"ada","messages":[{"role":"user","content":"Hello"}],"stream":true}')
    for _ in range(rng.randint(1, 6)):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)


def _whole(rng: random.Random) -> bytes:
    return b'{"model":"ada","messages":[],"stream":%b}' % rng.choice((b"true", b"false"))


BODIES: tuple[Callable[[random.Random], bytes], ...] = (
    *(_deep, _twice, _own_key, _odd_values, _flipped),
    *(_whole,) * 8,
    lambda rng: rng.randbytes(rng.randint(0, 400)),
    lambda rng: b"\xef\xbb\xbf{}" + b" " * rng.randint(0, 5000),
)


def _length(rng: random.Random, header: Header, body: bytes) -> bytes:
    wrong = (b"-1", b"+5", b"0x10", b"5 5", b"5,5", b"", b"99999999999999999999999", b"1e3", b"\xb2")
    value = rng.choice((*wrong, b"%d" % (len(body) + rng.randint(-20, 20)), b"%d" % (40 * 1024 * 1024)))
    header.append((b"Content-Length", value))
    return body


def _length_and_chunks(rng: random.Random, header: Header, body: bytes) -> bytes:
    both = [(b"Content-Length", b"%d" % rng.choice((0, 4, len(body)))), (b"Transfer-Encoding", b"chunked")]
    rng.shuffle(both)
    header.extend(both)
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) + _OTHER


def _chunks(rng: random.Random, header: Header, body: bytes) -> bytes:
    name = rng.choice((b"Transfer-Encoding", b"Transfer-Encoding ", b"transfer-encoding", b"\tTransfer-Encoding"))
    wrong = (b"xchunked", b"chunked, identity", b"identity, chunked", b"\x0bchunked", b"chunked\x00", b"gzip, chunked")
    header.append((name, rng.choice((b"chunked", b"chunked", *wrong))))
    size = rng.choice((b"%x" % len(body), b"%x;a=b" % len(body), b"-1", b"ffffffffffffffff", b"0x5", b"", b"1\n", b"g"))
    end = rng.choice(
        (b"\r\n0\r\n\r\n", b"\r\n0\r\nX: y\r\n\r\n", b"0\r\n\r\n", b"\r\n0\n\n", b"\r\n00000\r\n\r\n", b"")
    )
    return size + rng.choice((b"\r\n", b"\n", b"\r")) + body + end + rng.choice((b"", _OTHER))


def _lengths(rng: random.Random, header: Header, body: bytes) -> bytes:
    header.extend((b"Content-Length", b"%d" % each) for each in (len(body), rng.choice((0, 3, len(body)))))
    return body + rng.choice((b"", _OTHER))


def _right(_: random.Random, header: Header, body: bytes) -> bytes:
    header.append((b"Content-Length", b"%d" % len(body)))
    return body


FRAMES: tuple[Callable[[random.Random, Header, bytes], bytes], ...] = (
    *(_length, _length_and_chunks, _chunks, _lengths),
    *(_right,) * 8,
)

FIELDS: tuple[Callable[[random.Random], tuple[bytes, bytes]], ...] = (
    lambda _: (b"Authorization", b"Bearer " + TOKEN.encode()),  # a second one
    lambda _: (b"X-Api-Key", TOKEN.encode()),
    lambda _: (b"Authorization", b"Bearer " + TOKEN_OF_BOB.encode()),  # stolen, and used from the wrong address
    lambda rng: (b"X-Long", b"a" * rng.choice((8000, 9000, 70_000))),
    lambda rng: (b"X-\x00" if rng.random() < 0.5 else b"X Y", b"z"),
    lambda _: (b"X-Folded", b"a\r\n b"),
    lambda _: (b"X-Split", b"a\nAuthorization: Bearer " + TOKEN.encode()),
    lambda rng: (b"Content-Encoding", rng.choice((b"gzip", b"br", b"identity", b"deflate, gzip"))),
    lambda rng: (b"Expect", rng.choice((b"100-continue", b"200-ok"))),
    lambda rng: (b"Connection", rng.choice((b"close", b"Upgrade", b"keep-alive, Authorization"))),
    lambda _: (b"Upgrade", b"h2c"),
    lambda _: (b"Host", b"127.0.0.1:9"),
    lambda _: (b"X-Forwarded-For", ADDRESS_OF_BOB.encode()),
)


def request_of(rng: random.Random) -> bytes:
    """One request, or a few on one connection."""
    header: Header = [(b"Host", b"box"), (b"Content-Type", b"application/json")]
    if rng.random() < 0.9:
        header.append((b"Authorization", b"Bearer " + TOKEN.encode()))
    header.extend(rng.choice(FIELDS)(rng) for _ in range(rng.choice((0, 0, 0, 1, 2))))
    if rng.random() < 0.02:
        header.extend((b"X-%d" % number, b"y") for number in range(5000))
    framed = rng.choice(FRAMES)(rng, header, rng.choice(BODIES)(rng))
    path = rng.choice(
        (*PATHS, *(CHAT,) * 8, b"http://127.0.0.1:9/v1/models", b"*", b"/v1/../control/requests", b"/\x80%00")
    )
    method = rng.choice((*(b"POST",) * 16, b"GET", b"PUT", b"CONNECT", b"P\xd6ST", b"post"))
    version = rng.choice((b"HTTP/1.1",) * 20 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 x", b""))
    text = b"%b %b %b\r\n" % (method, path, version)
    text += b"".join(b"%b: %b\r\n" % field for field in header) + b"\r\n" + framed
    match rng.random():
        case chance if chance < 0.1:
            return text * rng.randint(2, 5)  # pipelined
        case chance if chance < 0.25:
            return text[: rng.randrange(len(text))]  # the rest never comes
        case chance if chance < 0.3:
            return rng.randbytes(rng.randint(1, 600))
        case _:
            return text


class _Attack:
    """Ada's side: what she was answered."""

    def __init__(self, port: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._port = port

    async def send(self, number: int) -> None:
        rng = random.Random(number)  # a failure is to be drawn again
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        answer = bytearray()
        try:
            with suppress(ConnectionError, TimeoutError):
                writer.write(request_of(rng))
                async with asyncio.timeout(rng.choice((0.0, 0.02, 0.1))):  # 0: leaves without looking
                    while piece := await reader.read(65_536):
                        answer += piece
        finally:
            if rng.random() < 0.5:  # a reset, not a farewell
                raw = writer.get_extra_info("socket")
                with suppress(OSError):  # the gateway was first
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
        found = [int(each) for each in _STATUS.findall(answer)]
        assert all(each < 500 for each in found), f"seed {number} was answered {found}: {bytes(answer[:400])!r}"
        assert SAID_TO_BOB.encode() not in answer, f"seed {number} was told what is another member's"
        assert KEY.encode() not in answer, f"seed {number} was told the key"
        self.statuses.update(found)


async def _bob(url: str, calls: list[int]) -> None:
    """An honest member, all along: every answer is whole, and is the answer to his own question."""
    connector = aiohttp.TCPConnector(local_addr=(ADDRESS_OF_BOB, 0))
    async with aiohttp.ClientSession(
        connector=connector, headers={"Authorization": f"Bearer {TOKEN_OF_BOB}"}
    ) as session:
        while True:
            body = {"model": "bob", "messages": [{"role": "user", "content": f"question {len(calls)}"}]}
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                told = await answer.json()
                assert answer.status == 200, told
                assert told["choices"][0]["message"]["content"] == SAID_TO_BOB
            calls.append(answer.status)
            await asyncio.sleep(0.01)


def _held(pid: int) -> tuple[int, int]:
    """Bytes of memory and open descriptors of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096, len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.limit(240)
async def test_ten_thousand_malformed_requests_harm_nobody(upstream: Upstream, tmp_path: Path) -> None:
    upstream.scripts["bob"] = Script(words=[SAID_TO_BOB])
    path = tmp_path / "usage.journal"
    with (tmp_path / "stderr").open("wb") as said:
        process, url = await start(upstream, path, stderr=said)
    calls: list[int] = []
    working = asyncio.create_task(_bob(url, calls))
    attack = _Attack(int(url.rpartition(":")[2]))
    numbers = iter(range(REQUESTS))

    async def until(end: int) -> None:
        for number in numbers:
            await attack.send(number)
            if number >= end:
                return

    try:
        warm = REQUESTS // 5
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(until(warm))
        before = _held(process.pid)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(until(REQUESTS))
        assert not working.done(), working.exception()
        working.cancel()
        await asyncio.sleep(1)
        after = _held(process.pid)
    finally:
        working.cancel()
        process.kill()
        await process.wait()
    assert "Traceback" not in (tmp_path / "stderr").read_text(), (tmp_path / "stderr").read_text()[-4000:]
    assert after[0] - before[0] < _GROWTH, f"{before[0] >> 20} MiB after {warm}, {after[0] >> 20} MiB at the end"
    assert after[1] - before[1] <= AT_ONCE, "connections are left open"  # so many may be kept to the upstream
    assert len(calls) > 100
    assert attack.statuses[200] > 100, "too few got as far as a model for this to mean anything"
    assert attack.statuses[400] > 1000, attack.statuses
    assert upstream.missed == [], "a path was smuggled"
    assert {each.authorization for each in upstream.seen} == {f"Bearer {KEY}"}
    assert {each.body["model"] for each in upstream.seen} == {"ada", "bob"}
    assert all(each.ended_at for each in upstream.seen if each.path == CHAT.decode()), "an upstream call goes on"
    settled = [record for _, record in Journal(path).read_from(0)[0] if isinstance(record, Call)]
    assert {(each.model, each.user_id) for each in settled} == {("ada", "u-ada"), ("bob", "u-bob")}
    assert len([each for each in settled if each.user_id == "u-bob"]) in (len(calls), len(calls) + 1)
