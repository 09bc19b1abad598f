"""The side that speaks to backends, against servers that do what they like: raw sockets, no HTTP library."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clawloops.gateway.resolve import VettedResolver
from clawloops.wire.answer import Answer, BrokenOff
from clawloops.wire.client import Client

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
Said = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Backend:
    """Answers each request with the next of `says`, byte for byte; the last one is said again and again."""

    def __init__(self, *says: bytes, closes: bool = False) -> None:
        self.says = list(says)
        self.closes = closes
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = asyncio.Event()  # a connection was closed by the client

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.says.pop(0) if len(self.says) > 1 else self.says[0])
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        writer.close()


@asynccontextmanager
async def listening(serve: Said, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(VettedResolver(), silence_s=0.5, idle_s=0.5) as made:
        yield made


async def _whole(answer: Answer) -> bytes:
    pieces = []
    while piece := await answer.readany():
        pieces.append(piece)
    return b"".join(pieces)


async def _ask(client: Client, url: str, body: bytes = b"{}") -> tuple[int, bytes]:
    answer = await client.post(f"{url}/v1/x?y=z", body, {"Accept": "*/*"})
    try:
        return answer.status, await _whole(answer)
    finally:
        answer.close()


async def test_one_connection_serves_call_after_call(client: Client) -> None:
    backend = Backend(OK)
    async with listening(backend.serve) as url:
        for _ in range(20):
            assert await _ask(client, url, b'{"a":1}') == (200, b"hi")
    host = url.removeprefix("http://").encode()
    head = b"POST /v1/x?y=z HTTP/1.1\r\nHost: " + host + b"\r\nAccept: */*\r\nContent-Length: 7\r\n\r\n"
    assert backend.requests == [head + b'{"a":1}'] * 20
    assert backend.connections == 1


async def test_calls_at_once_have_a_connection_each(client: Client) -> None:
    backend = Backend(OK)
    async with listening(backend.serve) as url, asyncio.TaskGroup() as group:
        asked = [group.create_task(_ask(client, url)) for _ in range(10)]
    assert {each.result() for each in asked} == {(200, b"hi")}
    assert 1 < backend.connections <= 10


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + OK, b"hi"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n",
            b"abcde",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: a\r\nCONTENT-TYPE: b\r\n\r\nhi", b"hi"),
    ],
)
async def test_an_answer_is_read_however_it_is_framed(client: Client, said: bytes, body: bytes) -> None:
    backend = Backend(said)
    async with listening(backend.serve) as url:
        assert (await _ask(client, url))[1] == body
        assert (await _ask(client, url))[1] == body
    assert backend.connections == 1


async def test_the_first_of_a_fields_values_counts(client: Client) -> None:
    backend = Backend(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: a\r\nCONTENT-TYPE: b\r\nX: \xc3\xa9\r\n\r\n"
    )
    async with listening(backend.serve) as url:
        answer = await client.post(url, b"", {})
    assert answer.headers == {"content-length": "0", "content-type": "a", "x": "é"}


@pytest.mark.parametrize("start", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
async def test_a_body_may_just_end(client: Client, start: bytes) -> None:
    async with listening(Backend(start + b"all of it", closes=True).serve) as url:
        answer = await client.post(url, b"", {})
        assert (await _whole(answer), answer.ends_by_itself, answer.content_length) == (b"all of it", False, None)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nxx",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5000 + b"2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: " + b"a" * 400_000,
    ],
)
async def test_what_breaks_off_or_is_no_http_is_said_to_be_that(client: Client, said: bytes) -> None:
    async with listening(Backend(said, closes=True).serve) as url:
        with pytest.raises(BrokenOff):
            await _ask(client, url)


async def test_an_answer_to_no_call_is_never_taken_for_the_next_calls(client: Client) -> None:
    backend = Backend(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", OK)
    async with listening(backend.serve) as url:
        assert await _ask(client, url) == (200, b"hi")
        assert await _ask(client, url) == (200, b"hi")
    assert backend.connections == 2


async def test_an_answer_that_came_too_early_is_never_taken_for_the_next_calls(client: Client) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(OK)
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        await asyncio.sleep(1)
        writer.close()

    async with listening(serve) as url:
        assert await _ask(client, url) == (200, b"hi")
        await asyncio.sleep(0.3)
        assert await _ask(client, url) == (200, b"hi")


async def test_a_connection_that_the_backend_has_closed_is_not_used_again(client: Client) -> None:
    backend = Backend(OK, closes=True)
    async with listening(backend.serve) as url:
        for _ in range(3):
            assert await _ask(client, url) == (200, b"hi")
            await asyncio.sleep(0.05)
    assert backend.connections == 3


async def test_a_call_that_is_given_up_ends_at_the_backend_at_once(client: Client) -> None:
    backend = Backend(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    async with listening(backend.serve) as url:
        asking = asyncio.create_task(_ask(client, url))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait_for(backend.ended.wait(), 0.1)
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert not client._open


async def test_a_call_given_up_as_its_answer_ends_does_not_break_the_next_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is the next call's as soon as the answer is whole, whoever is still to wake."""
    backend, keep, second = Backend(OK), client._keep, asyncio.Future[asyncio.Task[tuple[int, bytes]]]()
    async with listening(backend.serve) as url:

        def kept(connection: Any) -> None:
            keep(connection)
            if not second.done():
                second.set_result(asyncio.create_task(_ask(client, url)))
                first.cancel()

        monkeypatch.setattr(client, "_keep", kept)
        first = asyncio.create_task(_ask(client, url))
        assert await (await second) == (200, b"hi")
        with pytest.raises(asyncio.CancelledError):
            await first
    assert backend.connections == 1


async def test_silence_and_connections_without_use_come_to_an_end(client: Client) -> None:
    backend = Backend(OK, b"")
    async with listening(backend.serve) as url:
        assert await _ask(client, url) == (200, b"hi")
        with pytest.raises(BrokenOff, match="said nothing"):
            await _ask(client, url)
        backend.says = [OK]
        assert await _ask(client, url) == (200, b"hi")
        backend.ended.clear()
        await asyncio.wait_for(backend.ended.wait(), 3)
    assert not client._open and not client._kept and client._watch is None


async def test_of_an_answer_that_nobody_reads_little_is_held(client: Client) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        while sent < 50_000_000:
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            sent += 1_000_000
        writer.close()

    async with listening(serve) as url:
        answer = await client.post(url, b"{}", {})
        await asyncio.sleep(0.5)
        assert sent < 30_000_000  # what the kernel's buffers hold, and a little more
        assert len(answer._body) < 2_000_000
        assert len(await _whole(answer)) == 50_000_000


async def test_a_large_body_arrives_whole(client: Client) -> None:
    backend = Backend(OK)
    async with listening(backend.serve) as url:
        assert await _ask(client, url, b"x" * 5_000_000) == (200, b"hi")
        assert await _ask(client, url, b"y" * 5_000_000) == (200, b"hi")
    assert [len(each) for each in backend.requests] == [len(backend.requests[0])] * 2
    assert backend.connections == 1


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b"])
async def test_a_field_with_a_line_break_is_never_sent(client: Client, value: str) -> None:
    backend = Backend(OK)
    async with listening(backend.serve) as url:
        with pytest.raises(ValueError, match="line break"):
            await client.post(url, b"{}", {"Accept": value})
    assert backend.requests == []


@pytest.mark.parametrize("url", ["ftp://box/x", "/v1/chat", "http://", "box:80"])
async def test_what_is_no_address_is_refused(client: Client, url: str) -> None:
    with pytest.raises(ValueError):
        await client.post(url, b"{}", {})


async def test_a_name_that_leads_to_this_container_is_not_followed(client: Client) -> None:
    backend = Backend(OK)
    async with listening(backend.serve) as url:
        with pytest.raises(OSError, match="no backend is there"):
            await _ask(client, url.replace("127.0.0.1", "localhost"))
        with pytest.raises(OSError):
            await _ask(client, "http://127.0.0.1:1")
    assert backend.connections == 0


def _certificate(folder: Path, name: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a backend")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(
    ("name", "is_trusted", "works"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("127.0.0.2", True, False)],
)
async def test_over_tls_only_the_right_backend_hears_a_word(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_trusted: bool, works: bool
) -> None:
    context = _certificate(tmp_path, name)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    backend = Backend(OK)
    async with listening(backend.serve, context) as url:
        if works:
            assert await _ask(client, url) == (200, b"hi")
            assert await _ask(client, url) == (200, b"hi")
            assert backend.connections == 1
        else:
            with pytest.raises(OSError, match="certificate verify failed"):
                await _ask(client, url)
            assert backend.requests == []
