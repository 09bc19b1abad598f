"""ForwardAuth as Traefik asks it, byte for byte: the headers in its order, on a connection that stays."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

from clawloops.web import cookies

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass
class Asked:
    """What Traefik 3.7 sends for a request of Chromium's; it sorts them by name."""

    runtime_id: str
    host: str
    cookie: str
    uri: str = "/chat?session=main"
    method: str = "GET"
    proto: str = "http"
    headers: list[tuple[str, str]] = field(default_factory=list)

    def raw(self) -> bytes:
        fields = [
            ("Host", "127.0.0.1:8082"), ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0"),
            ("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate, br"), ("Accept-Language", "en"),
            ("Cookie", f"theme=dark; {cookies.WORKSPACE}={self.cookie}"), *self.headers,
            ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Host", self.host), ("X-Forwarded-Method", self.method),
            ("X-Forwarded-Port", "80"), ("X-Forwarded-Proto", self.proto), ("X-Forwarded-Uri", self.uri),
        ]  # fmt: skip
        lines = [f"GET /forward-auth/{self.runtime_id} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


class Line:
    """One connection. A new one is opened when the last one was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, *pieces: bytes, answers: int = 1, within_s: float = 5) -> list[bytes]:
        """That many answers to it, whole; fewer when the connection ends or falls silent before."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        found: list[bytes] = []
        try:
            for number, piece in enumerate(pieces):
                if number:
                    await asyncio.sleep(0.001)
                writer.write(piece)
            async with asyncio.timeout(within_s):
                while len(found) < answers:
                    found.append(await _answer(reader))
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            self.close()
        else:
            if b"\r\nConnection: close\r\n" in found[-1]:
                self.close()
        return found

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


def status_of(answer: bytes) -> int:
    return int(answer[9:12])
