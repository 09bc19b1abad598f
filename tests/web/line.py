"""A workspace's WebSocket in front of a scriptable runtime: for the tests of the relay and of what it keeps up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from yarl import URL

from clawloops.model.account import Session, User
from clawloops.model.runtime import Runtime
from clawloops.web import cookies
from tests.web.box import Box, listen

ADDRESS = "127.0.0.2"


@dataclass
class Openclaw:
    """Stands at the runtime's address: answers what it is told, and remembers how it was asked."""

    asked: list[web.Request] = field(default_factory=list)
    closes: list[int | None] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if request.path == "/redirect":
            raise web.HTTPFound(f"http://{ADDRESS}:{request.url.port}/elsewhere")
        socket = web.WebSocketResponse(autoping=False, protocols=("v2.openclaw",), max_msg_size=0)
        await socket.prepare(request)
        try:
            await self._answer(socket)
        finally:
            self.closes.append(socket.close_code)
        return socket

    async def _answer(self, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data == "close":
                await socket.close(code=4100, message=b"because")
            elif message.data == "flood":
                await _flood(socket)
            else:
                await socket.send_str(f"heard {message.data}")


async def _flood(socket: web.WebSocketResponse) -> None:
    while not socket.closed:
        await socket.send_bytes(b"x" * 100_000)


@dataclass
class Line:
    box: Box
    mia: User
    runtime: Runtime
    host: str
    cookie: str
    session: Session
    openclaw: Openclaw

    def headers(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        known: dict[str, str | None] = {
            "Host": self.host,
            "Origin": f"http://{self.host}",
            "Cookie": f"{cookies.WORKSPACE}={self.cookie}; own=1",
            **(changes or {}),
        }
        return {name: value for name, value in known.items() if value is not None}

    def connect(
        self, path: str = "/", changes: Mapping[str, str | None] | None = None
    ) -> aiohttp.client._WSRequestContextManager:
        return self.box.http.ws_connect(
            URL(f"http://127.0.0.1:{self.box.site.port}{path}", encoded=True),
            headers=self.headers(changes), autoping=False, max_msg_size=0, protocols=("v2.openclaw", "v1"),
        )  # fmt: skip

    async def refused(self, path: str = "/", **changes: str | None) -> int:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await self.connect(path, changes)
        return refused.value.status

    async def raw(self, *upgrades: str, key: str | None = "AAAAAAAAAAAAAAAAAAAAAA==", method: str = "GET") -> bytes:
        """The status line of a handshake that is spelled by hand, or b"" when the connection just ends."""
        lines = [f"{method} / HTTP/1.1", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in self.headers().items()]
        lines += [f"Upgrade: {each}" for each in upgrades] + ([f"Sec-WebSocket-Key: {key}"] if key else [])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.box.site.port)
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        first = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        return first


@pytest.fixture
async def line(box: Box) -> AsyncIterator[Line]:
    async with AsyncExitStack() as stack:
        openclaw = Openclaw()
        app = web.Application()
        app.router.add_get("/{rest:.*}", openclaw.serve)
        await listen(stack, app, box.runtime_port, ADDRESS)
        mia = await box.member("mia")
        runtime = await box.workspace(mia, address=ADDRESS)
        cookie, session = await box.inside(mia, runtime)
        yield Line(box, mia, runtime, box.site.workspace_host(runtime.slug), cookie, session, openclaw)
