"""The relay: who may open a WebSocket, what passes through it, and how fast it is cut. The runtime is a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from yarl import URL

from clawloops.model.account import Role, Session, User
from clawloops.model.runtime import Phase, Runtime
from clawloops.web import conversation, cookies, relay
from clawloops.web.identity import SCOPES
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


async def test_frames_pass_both_ways_with_pings_and_the_subprotocol(line: Line) -> None:
    async with line.connect("/rpc%2Fx?token=a%2Fb") as socket:
        assert socket.protocol == "v2.openclaw"
        await socket.send_str("grüße")
        assert (await socket.receive()).data == "heard grüße"
        await socket.ping(b"42")
        pong = await socket.receive()
        assert (pong.type, bytes(pong.data)) == (WSMsgType.PONG, b"42")
        big = b"z" * 3_000_000
        await socket.send_bytes(big)
        assert (await socket.receive()).data == big
    (asked,) = line.openclaw.asked
    assert asked.raw_path == "/rpc%2Fx?token=a%2Fb"


async def test_the_runtime_sees_the_identity_and_nothing_of_ours(line: Line) -> None:
    spoofed: dict[str, str | None] = {
        "X-Clawloops-User": "root", "X_Clawloops_User": "root", "X-OpenClaw-Scopes": "", "Authorization": "Bearer x",
        "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": line.host,
    }  # fmt: skip
    async with line.connect(changes=spoofed):
        pass
    headers = line.openclaw.asked[0].headers
    assert headers.getall("X-Clawloops-User") == [line.mia.id]
    assert headers.getall("X-OpenClaw-Scopes") == [SCOPES]
    assert headers.getall("X-Forwarded-For") == ["203.0.113.9"]
    assert (headers["Host"], headers["Origin"], headers["Cookie"]) == (line.host, f"http://{line.host}", "own=1")
    assert not {"authorization", "x_clawloops_user"} & {name.lower() for name in headers}


@pytest.mark.parametrize("side", ["browser", "runtime"])
async def test_close_codes_pass(line: Line, side: str) -> None:
    socket = await line.connect()
    if side == "browser":
        await socket.close(code=4200)
        await asyncio.sleep(0.2)
        assert line.openclaw.closes == [4200]
    else:
        await socket.send_str("close")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4100, "because")
        await socket.close()


@pytest.mark.attacks
@pytest.mark.parametrize("spelling", ["websocket", "WebSocket", "WEBSOCKET"])
async def test_websocket_in_any_case_is_relayed(line: Line, spelling: str) -> None:
    assert b" 101 " in await line.raw(spelling)


@pytest.mark.attacks
@pytest.mark.parametrize(
    "upgrades",
    [
        ["h2c"],
        ["websocket, h2c"],
        ["websocket", "websocket"],
        ["h2c", "websocket"],
        [""],
        ["websocket/13"],
        ["TLS/1.0"],
    ],
)
async def test_any_other_upgrade_never_reaches_a_runtime(line: Line, upgrades: list[str]) -> None:
    assert b" 101 " not in await line.raw(*upgrades)
    assert b" 101 " not in await line.raw("websocket", key=None)
    assert b" 101 " not in await line.raw("websocket", method="POST")
    assert line.openclaw.asked == []


@pytest.mark.attacks
async def test_the_handshake_matrix(line: Line) -> None:
    other = await line.box.workspace(await line.box.member("ben"), address=ADDRESS)
    elsewhere = line.box.site.workspace_host(other.slug)
    bare = f"{cookies.WORKSPACE}={line.cookie}"
    assert await line.refused(Origin=None) == 403
    for origin in (
        "https://evil.example",
        "null",
        line.box.site.origin,
        f"http://{elsewhere}",
        f"https://{line.host}",
        f"http://{line.host}/",
    ):
        assert await line.refused(Origin=origin) == 403, origin
    assert await line.refused(Cookie=None) == 401
    assert await line.refused(Cookie=f"{bare}; {bare}") == 400
    assert await line.refused(Host=elsewhere, Origin=f"http://{elsewhere}") == 403
    assert await line.refused(Host="evil.example") == 421
    assert await line.refused(Host=line.box.site.authority, Origin=line.box.site.origin) == 400
    assert await line.refused("/api/v1/admin/rpc") == 404
    for phase in (Phase.BOOT, Phase.STOPPED, Phase.UNKNOWN):
        line.box.show(line.runtime, phase, address=ADDRESS)
        assert await line.refused() == 503
    assert line.openclaw.asked == []


@pytest.mark.attacks
@pytest.mark.parametrize("end", ["sign-out", "revoke", "disable", "stop", "expire"])
async def test_a_live_socket_is_cut_when_its_right_ends(line: Line, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = await line.connect()
    await socket.send_str("hi")
    await socket.receive()
    began = time.monotonic()
    box = line.box
    match end:
        case "sign-out":
            parent = next(each for each in box.sessions._live.values() if each.hash == line.session.parent)
            await box.accounts.sign_out(parent)
        case "revoke":
            await box.sessions.revoke(line.session)
        case "disable":
            await box.accounts.disable(line.mia.id, by=await box.member("olga", Role.OWNER))
        case "stop":
            box.show(line.runtime, Phase.STOPPED)
        case "expire":
            monkeypatch.setattr("clawloops.control.sessions.now_ms", lambda: line.session.expires_at + 1)
    message = await asyncio.wait_for(socket.receive(), 5)
    assert (message.type, message.data) == (WSMsgType.CLOSE, conversation.REVOKED)
    assert time.monotonic() - began < 5
    await socket.close()


@pytest.mark.attacks
async def test_a_socket_that_does_not_read_is_cut_as_well(line: Line) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", line.box.site.port, limit=1024)
    lines = [f"{name}: {value}" for name, value in line.headers().items()]
    head = ["GET / HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *lines]  # fmt: skip
    writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
    assert b" 101 " in await reader.readline()
    mask = b"\0\0\0\0"
    writer.write(b"\x81\x85" + mask + b"flood")
    await asyncio.sleep(1)  # both ends' buffers are full by now
    began = time.monotonic()
    await line.box.sessions.revoke(line.session)
    while not line.openclaw.closes and time.monotonic() - began < 6:
        await asyncio.sleep(0.05)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError, EOFError)):
        while await asyncio.wait_for(reader.read(1 << 20), 6):
            pass
        raise EOFError
    assert time.monotonic() - began < 5
    writer.close()


async def test_draining_and_a_silent_engine_do_not_cut(line: Line) -> None:
    async with line.connect() as socket:
        for phase in (Phase.STOPPING, Phase.UNKNOWN):
            line.box.show(line.runtime, phase, address=ADDRESS)
            await socket.send_str("still")
            assert (await asyncio.wait_for(socket.receive(), 2)).data == "heard still"


@pytest.mark.attacks
async def test_a_runtimes_redirect_is_not_followed(line: Line) -> None:
    assert await line.refused("/redirect") == 503
    assert [request.path for request in line.openclaw.asked] == ["/redirect"]


@pytest.mark.faults
async def test_a_runtime_that_does_not_answer_is_told_as_503(line: Line) -> None:
    line.box.show(line.runtime, Phase.READY, address="127.0.0.3")
    assert await line.refused() == 503


@pytest.mark.faults
async def test_a_browser_that_leaves_ends_the_runtimes_side(line: Line) -> None:
    socket = await line.connect()
    await socket.send_str("hi")
    await socket.receive()
    assert socket._response.connection is not None and socket._response.connection.transport is not None
    socket._response.connection.transport.abort()
    for _ in range(60):
        if line.openclaw.closes:
            break
        await asyncio.sleep(0.05)
    assert line.openclaw.closes


async def test_a_message_over_the_limit_ends_the_connection(line: Line) -> None:
    socket = await line.connect()
    with contextlib.suppress(ConnectionError):  # it may be cut before all of it is sent
        await socket.send_bytes(b"x" * (relay.MAX_MESSAGE + 1))
    message = await asyncio.wait_for(socket.receive(), 10)
    assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING)
    assert socket.close_code in (1006, 1009)


def _request(method: str, **params: object) -> str:
    return json.dumps({"type": "req", "id": f"1:{method}", "method": method, "params": params})


async def _calm(socket: aiohttp.ClientWebSocketResponse[bool]) -> list[dict[str, object]]:
    """What a page gets when its runtime falls asleep."""
    told = [json.loads((await asyncio.wait_for(socket.receive(), 5)).data) for _ in range(2)]
    assert [each["event"] for each in told] == ["gateway.suspension", "tick"]
    return told


@pytest.mark.parametrize("phase", [Phase.PAUSED, Phase.WORKING])
async def test_a_page_is_kept_over_a_pause_and_the_first_thing_a_person_does_is_delivered(
    line: Line, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "CLOSE_CALL_S", 0.0)
    monkeypatch.setattr(conversation, "ROUSE_AGAIN_S", 0.3)
    async with line.connect() as socket:
        line.box.show(line.runtime, phase, address=ADDRESS)
        await _calm(socket)
        await socket.send_str(_request("sessions.catalog.list", agentId="main"))
        refused = json.loads((await asyncio.wait_for(socket.receive(), 2)).data)
        assert (refused["id"], refused["ok"]) == ("1:sessions.catalog.list", False)
        assert refused["error"]["details"]["reason"] == "gateway-suspending"
        note = _request("sessions.observer.visibility", visible=True)
        await socket.send_str(note)
        await asyncio.sleep(0.2)
        assert line.box.roused == [] and not line.openclaw.closes
        await socket.send_str("hello")
        if phase is Phase.WORKING:  # nobody wakes it before the work is done
            await asyncio.sleep(0.5)
            line.box.show(line.runtime, Phase.READY, address=ADDRESS)
        assert (await asyncio.wait_for(socket.receive(), 5)).data == f"heard {note}"
        assert (await asyncio.wait_for(socket.receive(), 5)).data == "heard hello"
        assert line.box.roused[0][0] == line.runtime.id


async def test_a_page_gets_signs_of_life_as_long_as_it_takes(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "TICK_S", 0.1)
    async with line.connect() as socket:
        line.box.show(line.runtime, Phase.PAUSED, address=ADDRESS)
        await _calm(socket)
        for _ in range(5):
            assert "tick" in (await asyncio.wait_for(socket.receive(), 2)).data
        line.box.show(line.runtime, Phase.UNKNOWN, address=ADDRESS)  # it may still be paused
        await asyncio.sleep(0.3)
        assert "tick" in (await asyncio.wait_for(socket.receive(), 2)).data
        line.box.show(line.runtime, Phase.READY, address=ADDRESS)
        await asyncio.sleep(0.5)
        await socket.send_str("after")
        while (heard := (await asyncio.wait_for(socket.receive(), 2)).data) != "heard after":
            assert "tick" in heard


async def test_whoever_was_not_heard_before_the_pause_wakes_it(line: Line) -> None:
    async with line.connect() as socket:
        await socket.send_str("just in time")
        await socket.receive()
        line.box.show(line.runtime, Phase.PAUSED, address=ADDRESS)
        async with asyncio.timeout(3):
            while not line.box.roused:
                await asyncio.sleep(0.05)


async def test_a_page_outlives_its_stopped_runtime_and_is_sent_to_connect_anew(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "CLOSE_CALL_S", 0.0)
    socket = await line.connect()
    line.box.show(line.runtime, Phase.STOPPING, address=ADDRESS)
    await socket.send_str("close")  # what the stand-in does at its end
    async with asyncio.timeout(5):
        while not line.openclaw.closes:
            await asyncio.sleep(0.05)
    line.box.show(line.runtime, Phase.ASLEEP)
    await _calm(socket)
    await socket.send_str(_request("chat.send", message="hello"))
    sent_back = json.loads((await asyncio.wait_for(socket.receive(), 2)).data)
    assert (sent_back["id"], sent_back["error"]["retryable"]) == ("1:chat.send", True)
    async with asyncio.timeout(5):
        while not line.box.roused:
            await asyncio.sleep(0.05)
    assert line.box.board.get(line.runtime.id).phase is Phase.BOOT
    line.box.show(line.runtime, Phase.READY, address=ADDRESS)
    while (message := await asyncio.wait_for(socket.receive(), 5)).type is WSMsgType.TEXT:
        pass
    assert (message.type, message.data) == (WSMsgType.CLOSE, aiohttp.WSCloseCode.SERVICE_RESTART)
    await socket.close()


@pytest.mark.attacks
@pytest.mark.parametrize("end", ["sign-out", "stop"])
async def test_a_page_that_is_kept_is_cut_when_its_right_ends(line: Line, end: str) -> None:
    socket = await line.connect()
    line.box.show(line.runtime, Phase.PAUSED, address=ADDRESS)
    await _calm(socket)
    if end == "stop":
        line.box.show(line.runtime, Phase.STOPPED)
    else:
        await line.box.sessions.revoke(line.session)
    while (message := await asyncio.wait_for(socket.receive(), 5)).type is WSMsgType.TEXT:
        pass
    assert (message.type, message.data) == (WSMsgType.CLOSE, conversation.REVOKED)
    await socket.close()


async def test_connecting_again_wakes_a_sleeping_runtime(line: Line) -> None:
    line.box.show(line.runtime, Phase.PAUSED, address=ADDRESS)
    async with line.connect() as socket:
        await socket.send_str("hi")
        assert (await socket.receive()).data == "heard hi"
    line.box.show(line.runtime, Phase.ASLEEP)
    assert await line.refused() == 503
    assert line.box.board.get(line.runtime.id).phase is Phase.BOOT
