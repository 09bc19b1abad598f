"""Bytes pass as they come, a call is settled before its last byte, and each side's end is the other side's end."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import aiohttp
import orjson
import pytest

from clawloops.gateway import ingress
from clawloops.gateway.journal import Record
from clawloops.model.provider import BackendKind
from clawloops.model.usage import Call, Tokens
from tests.gateway.gate import KEY, LOOPBACK, TOKEN, Gateway, listening, open_gateway
from tests.gateway.shapes import BODIES, STREAMS
from tests.upstream import Script, Upstream

COUNTED = Tokens(input=11, output=5, cached=4, reasoning=1)


async def _until_settled(gateway: Gateway) -> Call:
    async with asyncio.timeout(5):
        while not gateway.settled:
            await asyncio.sleep(0.002)
    return gateway.settled[0]


async def test_the_first_chunk_arrives_before_the_upstream_sends_the_second(gateway: Gateway) -> None:
    gateway.upstream.scripts["step"] = Script(stepwise=True)
    gateway.serve_model("step")
    async with await gateway.post("step", stream=True) as answer:
        first = await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5)
        assert b"Hello" in first
        assert gateway.upstream.seen[0].sent == 1
        for _ in range(7):
            gateway.upstream.step()
        assert b"data: [DONE]" in await answer.read()


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_the_same_byte_for_byte_as_without_the_gateway(gateway: Gateway, name: str) -> None:
    pieces, tokens = STREAMS[name]
    gateway.upstream.scripts["shape"] = Script(pieces=pieces)
    gateway.serve_model("shape")
    wished: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    async with aiohttp.ClientSession() as direct:
        url = f"{gateway.upstream.url}/v1/chat/completions"
        async with direct.post(url, json={"model": "shape", "messages": [], **wished}) as answer:
            expected = await answer.read()
    async with await gateway.post("shape", **wished) as answer:
        assert await answer.read() == expected
    assert [call.tokens for call in gateway.settled] == [gateway.estimated(tokens)]


@pytest.mark.parametrize("name", BODIES)
async def test_a_whole_answer_is_the_same_byte_for_byte(gateway: Gateway, name: str) -> None:
    raw, tokens = BODIES[name]
    gateway.upstream.scripts["shape"] = Script(pieces=[raw], content_type="application/json")
    gateway.serve_model("shape")
    async with await gateway.post("shape") as answer:
        assert await answer.read() == raw.encode("latin-1")
        assert answer.headers["Content-Length"] == str(len(raw))
    assert [call.tokens for call in gateway.settled] == [gateway.estimated(tokens)]


async def test_usage_is_asked_for_and_hidden_when_the_caller_did_not_want_it(gateway: Gateway) -> None:
    gateway.serve_model("team-small", upstream="small")
    async with await gateway.post("team-small", stream=True) as answer:
        text = await answer.read()
    assert gateway.upstream.seen[0].body["stream_options"] == {"include_usage": True}
    assert b"prompt_tokens" not in text
    assert text.endswith(b"data: [DONE]\n\n")
    assert text.count(b"data:") == 7
    assert gateway.settled[0].tokens == COUNTED


async def test_usage_is_shown_when_the_caller_asked_for_it(gateway: Gateway) -> None:
    gateway.serve_model("small")
    async with await gateway.post("small", stream=True, stream_options={"include_usage": True}) as answer:
        assert b"prompt_tokens" in await answer.read()
    call = gateway.settled[0]
    assert (call.tokens, call.status, call.user_id, call.runtime_id, call.model) == (
        COUNTED,
        200,
        "u-ada",
        "r-ada",
        "small",
    )
    assert call.first_ms is not None
    assert len(call.id) == 32


async def test_tool_calls_and_embeddings_pass(gateway: Gateway) -> None:
    gateway.serve_model("tools")
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    async with await gateway.post("tools", tools=[tool], stream=True) as answer:
        assert b'"name": "weather"' in await answer.read()
    async with await gateway.post("tools", path="/v1/embeddings") as answer:
        assert (await answer.json())["data"][0]["embedding"] == [0.25, -0.5]
    assert [call.tokens.input for call in gateway.settled] == [11, 5]


@pytest.mark.parametrize("model", ["hang", "hang-1", "slow-60000"])
async def test_a_caller_who_leaves_ends_the_upstream_call_within_100_ms(gateway: Gateway, model: str) -> None:
    gateway.serve_model(model)
    asking = asyncio.create_task(gateway.post(model, stream=True))
    async with asyncio.timeout(5):
        while not gateway.upstream.seen:
            await asyncio.sleep(0.002)
    if model != "hang":
        answer = await asking
        await answer.content.readuntil(b"\n\n")
    left_at = time.monotonic()
    if model == "hang":
        asking.cancel()
    else:
        answer.close()
    call = await _until_settled(gateway)
    seen = gateway.upstream.seen[0]
    async with asyncio.timeout(5):
        while seen.ended_at is None:
            await asyncio.sleep(0.002)
    assert seen.left
    assert seen.ended_at - left_at < 0.1
    assert call.status == 499
    assert call.tokens == gateway.estimated(Tokens(output=int(model != "hang")))


async def test_a_caller_who_goes_with_the_end_mark_in_hand_is_settled_as_served(gateway: Gateway) -> None:
    """OpenAI's SDKs close at [DONE] without waiting for the end of the connection."""
    gateway.upstream.scripts["late"] = Script(pieces=["data: {}\n\n", "data: [DONE]\n\n", ": bye\n\n"], stepwise=True)
    gateway.serve_model("late")
    answer = await gateway.post("late", stream=True)
    gateway.upstream.step()
    await answer.content.readuntil(b"[DONE]\n\n")
    answer.close()
    await asyncio.sleep(0.1)
    assert [call.status for call in gateway.settled] == [200]


async def test_a_broken_upstream_looks_broken(gateway: Gateway) -> None:
    gateway.serve_model("cut-2")
    async with await gateway.post("cut-2", stream=True) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    call = await _until_settled(gateway)
    assert (call.status, call.tokens.output) == (502, 2)


async def test_a_stream_that_just_ends_looks_broken_when_only_its_end_could_tell(gateway: Gateway) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {"choices":[]}\n\n')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        gateway.serve_model("old", url=f"http://127.0.0.1:{port}/v1")
        async with await gateway.post("old", stream=True) as answer:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_that_cannot_be_settled_never_looks_finished(upstream: Upstream, *, streamed: bool) -> None:
    def disk_full(record: Record) -> None:
        if isinstance(record, Call):
            raise OSError(28, "No space left on device")

    async with open_gateway(upstream, write=disk_full) as gateway:
        gateway.serve_model("small")
        got = bytearray()
        with pytest.raises(aiohttp.ClientError):
            async with await gateway.post("small", stream=streamed) as answer:
                async for piece in answer.content.iter_any():
                    got += piece
        assert b"[DONE]" not in got
        assert b"total_tokens" not in got


async def test_a_call_that_cannot_be_written_down_is_not_made(upstream: Upstream) -> None:
    def disk_full(record: Record) -> None:
        raise OSError(28, "No space left on device")

    async with open_gateway(upstream, write=disk_full) as gateway:
        gateway.serve_model("small")
        async with await gateway.post("small") as answer:
            assert answer.status == 503
            assert "free disk space" in (await answer.json())["error"]["message"]
        assert upstream.seen == []


async def test_connections_to_the_upstream_are_kept(gateway: Gateway) -> None:
    gateway.serve_model("small")
    for number in range(6):
        async with await gateway.post("small", stream=bool(number % 2)) as answer:
            await answer.read()
    assert len({seen.connection for seen in gateway.upstream.seen}) == 1


async def test_an_ollama_backend_is_called_below_v1_and_without_a_key(gateway: Gateway) -> None:
    gateway.serve_model("local", upstream="qwen3:8b", kind=BackendKind.OLLAMA, key=None)
    async with await gateway.post("local") as answer:
        assert (await answer.json())["model"] == "qwen3:8b"
    seen = gateway.upstream.seen[0]
    assert (seen.path, seen.authorization) == ("/v1/chat/completions", "")


async def test_only_listed_headers_pass_in_either_direction(gateway: Gateway) -> None:
    leak = {"OpenAI-Organization": "secret-org", "Set-Cookie": "a=b", "X-Own": "1", "Cache-Control": "no-cache"}
    gateway.upstream.scripts["noisy"] = Script(headers=leak)
    gateway.serve_model("noisy")
    body = orjson.dumps({"model": "noisy", "messages": []})
    sent = {"X-Goog-Api-Key": "own", "Cookie": "c=d", "OpenAI-Organization": "mine", "X-Forwarded-For": "1.2.3.4"}
    async with gateway.session.post(f"{gateway.url}/v1/chat/completions", data=body, headers=sent) as answer:
        names = {name.lower() for name in answer.headers}
    assert names == {"content-type", "content-length", "cache-control", "server", "date"}
    arrived = {name.lower() for name in gateway.upstream.seen[0].headers}
    assert arrived == {
        *("host", "content-type", "accept", "accept-encoding", "user-agent", "authorization", "content-length"),
    }
    assert gateway.upstream.seen[0].authorization == f"Bearer {KEY}"


@pytest.mark.parametrize("slots", [0, 1])
async def test_a_caller_who_takes_nothing_of_its_answer_counts_as_gone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    monkeypatch.setattr(ingress, "TAKES_S", 0.3)
    gateway.upstream.scripts["endless"] = Script(words=["word " * 2000] * 4000)
    gateway.serve_model("endless", slots=slots)
    body = orjson.dumps({"model": "endless", "messages": [], "stream": True})
    door = ingress.gateway(gateway.directory, gateway.proxy, pool=LOOPBACK)
    async with listening(door) as url:
        call = await _take_nothing(gateway, url, body)
    assert call.status == 499
    assert gateway.queue.all() == [] and not gateway.books._turns


async def _take_nothing(gateway: Gateway, url: str, body: bytes) -> Call:
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(lazy, ("127.0.0.1", int(url.rpartition(":")[2])))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        await loop.sock_sendall(lazy, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return await _until_settled(gateway)
