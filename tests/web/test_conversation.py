"""A page stays connected while its runtime sleeps, and whatever a person does wakes it."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import WSMsgType

from clawloops.model.runtime import Phase
from clawloops.web import conversation
from tests.web.line import ADDRESS, Line, line

__all__ = ["line"]


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


@pytest.mark.attacks(15)
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
