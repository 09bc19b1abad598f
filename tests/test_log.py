"""What the log tells of a fault, and what it leaves to the one who sent it."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def _pages(app: web.Application) -> AsyncIterator[str]:
    served = web.AppRunner(app)
    await served.setup()
    await web.TCPSite(served, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{served.addresses[0][1]}"
    await served.cleanup()


async def _fault(request: web.Request) -> web.Response:
    raise RuntimeError("a fault of ours")


async def _sent(url: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(4096), 5)
    writer.close()
    return answer


async def test_a_malformed_request_fills_no_log_and_a_fault_of_ours_is_in_it(
    said: io.StringIO,
) -> None:
    app = web.Application()
    app.router.add_get("/", _fault)
    async with _pages(app) as url:
        assert b" 400 " in await _sent(url, b"GET / HTTP/1.1\r\nX Y: z\r\n\r\n")
        assert said.getvalue() == ""
        assert b" 500 " in await _sent(url, b"GET / HTTP/1.1\r\nHost: box\r\n\r\n")
        assert "a fault of ours" in said.getvalue()
        logging.getLogger().setLevel(logging.DEBUG)  # asked for, it is told
        await _sent(url, b"GET / HTTP/1.1\r\nX Y: z\r\n\r\n")
        assert "BadHttpMessage" in said.getvalue()


def test_what_a_caller_has_sent_does_not_look_like_a_line_of_ours(said: io.StringIO) -> None:
    sent = "/x\n2026-01-01 00:00:00 INFO    clawloops [-] all is well\u2028\x1b[2K"
    logging.getLogger("clawloops").warning("GET %s", sent)
    assert said.getvalue().count("\n") == 1
    assert r"/x\n2026-01-01" in said.getvalue() and "\x1b" not in said.getvalue()
