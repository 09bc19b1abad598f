"""A backend that is down, refuses or fails: the chat shows what to do, and never a key."""

from __future__ import annotations

import asyncio
import logging

import pytest

from clawloops.bench.peers import free_port
from clawloops.gateway.answers import of_backend, scrub
from clawloops.model.provider import BackendKind
from tests.gateway.gate import KEY, Gateway
from tests.upstream import Script


async def test_a_backend_that_is_down_gives_a_clear_error_in_the_chat(gateway: Gateway) -> None:
    gateway.serve_model("down", url=f"http://127.0.0.1:{free_port()}/v1")
    async with await gateway.post("down", stream=True) as answer:
        error = (await answer.json())["error"]
    assert answer.status == 502
    assert error["code"] == "backend_unavailable"
    assert error["message"] == (
        "The model backend 'Lab server' does not answer. Ask your admin to look at it, or choose another model."
    )
    assert [call.status for call in gateway.settled] == [502]


async def test_a_backend_that_closes_without_a_word_gives_the_same_error(gateway: Gateway) -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        gateway.serve_model("mute", url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        async with await gateway.post("mute") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (502, "backend_unavailable")


@pytest.mark.parametrize(
    ("status", "given", "code"),
    [
        (301, 502, "backend_failed"),
        (400, 400, "backend_refused"),
        (401, 502, "backend_key_refused"),
        (403, 502, "backend_key_refused"),
        (404, 502, "backend_model_unknown"),
        (422, 422, "backend_refused"),
        (429, 429, "rate_limit_exceeded"),
        (500, 502, "backend_failed"),
        (503, 502, "backend_failed"),
    ],
)
async def test_a_refusing_backend_is_explained_without_its_key(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, status: int, given: int, code: str
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"Retry-After": "7", "Location": "http://169.254.169.254/"}
    gateway.upstream.scripts["bad"] = Script(status=status, headers=headers)
    gateway.serve_model("bad")
    async with await gateway.post("bad", stream=True) as answer:
        raw = await answer.text()
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (given, code)
    assert "'Lab server'" in error["message"]
    assert answer.headers["Retry-After"] == "7"
    assert len(gateway.upstream.seen) == 1
    for part in (KEY, KEY[:12], KEY[-12:]):
        assert part not in raw + caplog.text
    assert [call.status for call in gateway.settled] == [given]


async def test_a_key_in_an_error_event_of_a_stream_is_masked(gateway: Gateway) -> None:
    event = 'data: {"error":{"message":"bad key ' + KEY + '"}}\n\n'
    gateway.upstream.scripts["quoting"] = Script(pieces=[event[:40], event[40:], "data: [DONE]\n\n"])
    gateway.serve_model("quoting")
    async with await gateway.post("quoting", stream=True) as answer:
        raw = await answer.read()
    assert raw == b'data: {"error":{"message":"bad key [secret]"}}\n\ndata: [DONE]\n\n'


async def test_litellm_missing_is_explained(gateway: Gateway) -> None:
    gateway.serve_model("claude", kind=BackendKind.LITELLM, provider="anthropic", url="")
    async with await gateway.post("claude") as answer:
        error = (await answer.json())["error"]
    assert answer.status == 502
    assert "LiteLLM" in error["message"]


async def test_a_backend_that_takes_the_request_and_no_connection_in_time_is_down(gateway: Gateway) -> None:
    gateway.serve_model("nameless", url="http://no-such-host.invalid/v1")
    async with await gateway.post("nameless") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "backend_unavailable")


def test_a_backends_html_page_is_not_shown_in_the_chat() -> None:
    refusal = of_backend("Lab", 400, b"<html><h1>nginx</h1></html>", (), path="/v1/chat/completions")
    assert refusal.message == "The model backend 'Lab' refused the request: HTTP 400"


def test_a_key_quoted_in_part_is_scrubbed() -> None:
    assert scrub(f"key {KEY} and {KEY[:14]}...", (KEY,)) == "key [secret] and [secret]nary..." or (
        KEY[:14] not in scrub(f"{KEY[:14]}...", (KEY,))
    )
