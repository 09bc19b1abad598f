"""The relay: who may open a WebSocket, what passes through it, and how fast it is cut. The runtime is a real server."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from aiohttp import WSMsgType

from clawloops.model.account import Role
from clawloops.model.runtime import Phase
from clawloops.web import conversation, cookies, relay
from clawloops.web.identity import SCOPES
from tests.web.line import ADDRESS, Line, line

__all__ = ["line"]


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


@pytest.mark.attacks(15)
@pytest.mark.parametrize("spelling", ["websocket", "WebSocket", "WEBSOCKET"])
async def test_websocket_in_any_case_is_relayed(line: Line, spelling: str) -> None:
    assert b" 101 " in await line.raw(spelling)


@pytest.mark.attacks(15)
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


@pytest.mark.attacks(14)
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


@pytest.mark.attacks(15)
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


@pytest.mark.attacks(15, 20)
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


@pytest.mark.attacks(18)
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
