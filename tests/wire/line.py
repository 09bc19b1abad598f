"""A server on loopback, and what is said to it, byte for byte."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clawloops.wire.request import CutBody, Reply, Request, TooLarge
from clawloops.wire.server import Handler, Server

LIMIT = 1_000_000


async def echo(request: Request) -> Reply:
    """Tells what it understood."""
    try:
        body = await request.body(LIMIT)
    except TooLarge:
        return Reply(413, b"too large")
    except CutBody:
        return Reply(400, b"cut")
    return Reply(200, b"%b %b %b" % (request.method.encode(), request.path.encode(), body[:100]))


def refused(status: int) -> Reply:
    return Reply(status, b"refused")


@asynccontextmanager
async def serving(handler: Handler = echo, *, idle_s: float = 75, takes_s: float = 30) -> AsyncIterator[int]:
    server = Server(handler, refused, idle_s=idle_s, takes_s=takes_s)
    try:
        yield await server.listen("127.0.0.1", 0)
    finally:
        await server.close(within_s=0.1)


async def sent(port: int, *pieces: bytes, within_s: float = 5) -> bytes:
    """What the server says until it closes the connection, or until a third of a second after the last byte.

    On a busy machine its first byte may take long: who says nothing at all is waited for until the end.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.02)
    said = b""
    try:
        async with asyncio.timeout(within_s):
            while piece := await asyncio.wait_for(reader.read(65_536), 0.3 if said else within_s):
                said += piece
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return said


def statuses(said: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


POST = b"POST /a?b=c HTTP/1.1\r\nHost: box\r\nContent-Length: 2\r\n\r\n{}"
GET = b"GET /g HTTP/1.1\r\nHost: box\r\n\r\n"
