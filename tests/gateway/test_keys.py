"""Members' own tools come in by a door of their own: it knows their keys, and no runtime's token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

import aiohttp
import openai
import pytest

from clawloops.gateway.ingress import members_door
from clawloops.model.key import ApiKey
from clawloops.model.provider import BackendKind
from tests.gateway.gate import TOKEN, Gateway, listening
from tests.upstream import Script

KEY_OF_ADA = "clk_ada"
SAY = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def door(gateway: Gateway) -> AsyncIterator[str]:
    """The address of members' door, beside runtimes'; both know the same models."""
    gateway.serve_model("small", kind=BackendKind.OLLAMA)
    gateway.serve_model("large", kind=BackendKind.OLLAMA)
    digest = sha256(KEY_OF_ADA.encode()).digest()
    gateway.directory.set_key(ApiKey("k-laptop", "u-ada", "laptop", digest, "clk_", frozenset(["small"]), 0, 0))
    async with listening(members_door(gateway.directory, gateway.proxy)) as url:
        yield url


async def _status(url: str, path: str, token: str, **fields: object) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as tool, tool.post(url + path, json=fields) as answer:
        return answer.status


async def test_a_tool_with_a_key_is_served_and_counted_as_its_owners(door: str, gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{door}/v1", api_key=KEY_OF_ADA, max_retries=0) as client:
        answer = await client.responses.create(model="small", input="Hello")
        assert answer.output_text == "Hello from the scripted upstream."
        assert [each.id async for each in client.models.list()] == ["small"]
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("large")
        with pytest.raises(openai.PermissionDeniedError):
            await client.responses.create(model="large", input="Hello")
    assert [(call.user_id, call.runtime_id, call.key_id) for call in gateway.settled] == [("u-ada", "", "k-laptop")]


async def test_no_runtimes_token_opens_members_door_and_no_key_runtimes(door: str, gateway: Gateway) -> None:
    path = "/v1/chat/completions"
    assert await _status(door, path, TOKEN, model="small", **SAY) == 401
    assert await _status(gateway.url, path, KEY_OF_ADA, model="small", **SAY) == 401
    assert await _status(door, path, KEY_OF_ADA, model="small", **SAY) == 200
    assert [call.key_id for call in gateway.settled] == ["k-laptop"]


async def test_a_key_that_was_dropped_ends_in_the_middle_of_an_answer(door: str, gateway: Gateway) -> None:
    gateway.upstream.scripts["small"] = Script(stepwise=True)
    headers = {"Authorization": f"Bearer {KEY_OF_ADA}"}
    body = {"model": "small", **SAY, "stream": True}
    async with (
        aiohttp.ClientSession(headers=headers) as tool,
        tool.post(f"{door}/v1/chat/completions", json=body) as answer,
    ):
        await answer.content.readuntil(b"\n\n")
        gateway.directory.drop_keys_of("u-ada")
        gateway.upstream.step()
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert [(call.status, call.tokens.output) for call in gateway.settled] == [(401, 1)]
    async with asyncio.timeout(5):
        while not gateway.upstream.seen[0].left:
            gateway.upstream.step()
            await asyncio.sleep(0.005)


async def test_a_runtime_that_is_admitted_again_is_not_cut(gateway: Gateway) -> None:
    gateway.upstream.scripts["small"] = Script(stepwise=True)
    gateway.serve_model("small")
    async with await gateway.post("small", stream=True) as answer:
        await answer.content.readuntil(b"\n\n")
        gateway.directory.set_runtime(
            sha256(TOKEN.encode()).digest(), runtime_id="r-ada", user_id="u-ada", address="127.0.0.1"
        )
        for _ in range(7):
            gateway.upstream.step()
        assert b"[DONE]" in await answer.read()


async def test_a_key_that_was_dropped_is_refused_by_the_next_call(door: str, gateway: Gateway) -> None:
    path = "/api/chat"
    assert await _status(door, path, KEY_OF_ADA, model="small", stream=False, **SAY) == 200
    gateway.directory.drop_key("k-laptop")
    assert await _status(door, path, KEY_OF_ADA, model="small", stream=False, **SAY) == 401
