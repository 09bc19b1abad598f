"""Through the real LiteLLM, run as its image runs it: streams, tools, refusals, and no key left behind."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from clawloops.errors import BackendRefused, BackendUnavailable
from clawloops.gateway import providers
from clawloops.gateway.resolve import upstream_session
from clawloops.model.provider import Backend, BackendKind
from clawloops.model.usage import Tokens
from tests.gateway.gate import KEY, Gateway
from tests.gateway.translator import INTERNAL, LiteLLM, behind_litellm
from tests.upstream import Upstream

pytestmark = [pytest.mark.litellm, pytest.mark.limit(180)]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


async def test_a_stream_passes_with_the_key_of_the_call_and_its_usage_counted(behind: Gateway) -> None:
    async with await behind.post("small", stream=True) as answer:
        text = await answer.text()
    assert answer.status == 200
    assert text.count('"content":"') >= 5
    assert text.endswith("data: [DONE]\n\n")
    assert '"prompt_tokens"' not in text
    seen = behind.upstream.seen[0]
    assert (seen.authorization, seen.body["model"]) == (f"Bearer {KEY}", "small")
    assert "api_key" not in seen.body
    call = behind.settled[0]
    assert (call.tokens.input, call.tokens.output, call.tokens.cached, call.status) == (11, 5, 4, 200)


async def test_chunks_pass_litellm_one_by_one(behind: Gateway) -> None:
    started = time.monotonic()
    async with await behind.post("slow-200", stream=True) as answer:
        await answer.content.readuntil(b"\n\n")
        first = time.monotonic() - started
        await answer.read()
    assert first < (time.monotonic() - started) / 2


async def test_a_whole_answer_and_tools_pass(behind: Gateway) -> None:
    async with await behind.post("small") as answer:
        message = (await answer.json())["choices"][0]["message"]
    assert message["content"] == "Hello from the scripted upstream."
    for streamed in (False, True):
        async with await behind.post("tools", tools=[TOOL], stream=streamed) as answer:
            assert '"name":"weather"' in await answer.text()
    assert [call.tokens.input for call in behind.settled] == [11, 11, 11]
    assert behind.upstream.seen[1].body["tools"] == [TOOL]


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("error-401", 502, "backend_key_refused"),
        ("error-429", 429, "rate_limit_exceeded"),
        ("error-400", 400, "backend_refused"),
        ("error-500", 502, "backend_failed"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_providers_refusal_is_explained_once_and_without_the_key(
    behind: Gateway, model: str, status: int, code: str, *, streamed: bool
) -> None:
    async with await behind.post(model, stream=streamed) as answer:
        text = await answer.text()
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert KEY not in text
    assert INTERNAL not in text
    assert len(behind.upstream.seen) == 1  # LiteLLM retries nothing


async def test_one_wrong_key_does_not_rest_the_provider_for_others(behind: Gateway) -> None:
    for _ in range(5):
        async with await behind.post("error-401") as answer:
            assert answer.status == 502
    async with await behind.post("small") as answer:
        assert answer.status == 200


async def test_a_provider_that_is_down_is_a_clear_error(behind: Gateway) -> None:
    behind_litellm(behind, "down", url="http://127.0.0.1:1/v1")
    async with await behind.post("down", stream=True) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "backend_failed")


async def test_a_caller_who_leaves_ends_the_providers_call_too(behind: Gateway) -> None:
    answer = await behind.post("hang-2", stream=True)
    await answer.content.readuntil(b"\n\n")
    answer.close()
    async with asyncio.timeout(5):
        while not (behind.settled and behind.upstream.seen[0].left):
            await asyncio.sleep(0.01)
    assert behind.settled[0].status == 499


async def test_a_provider_that_breaks_off_never_looks_finished(behind: Gateway) -> None:
    async with await behind.post("cut-2", stream=True) as answer:
        try:
            text = await answer.text()
        except aiohttp.ClientError:
            return
    assert '"error"' in text  # LiteLLM turns the break into an error event
    assert KEY not in text


async def test_anthropics_own_dialect_is_spoken_for_us(behind: Gateway) -> None:
    behind_litellm(behind, "claude", provider="anthropic", url=behind.upstream.url)
    async with await behind.post("claude") as answer:
        assert (await answer.json())["choices"][0]["message"]["content"] == "Hello from the scripted upstream."
    async with await behind.post("claude", stream=True) as answer:
        text = await answer.text()
    assert text.endswith("data: [DONE]\n\n")
    assert '"prompt_tokens"' not in text
    assert [seen.path for seen in behind.upstream.seen] == ["/v1/messages"] * 2
    assert {seen.headers["x-api-key"] for seen in behind.upstream.seen} == {KEY}
    assert [call.tokens for call in behind.settled] == [Tokens(input=11, output=5, cached=4)] * 2


async def test_a_provider_is_checked_with_its_key(litellm: LiteLLM, upstream: Upstream) -> None:
    backend = Backend("b", "Cloud", BackendKind.LITELLM, f"{upstream.url}/v1", "openai", 0)
    async with upstream_session() as session:

        async def check(model: str, key: str | None = KEY) -> None:
            await providers.check(session, backend, key, model=model, litellm_url=litellm.url, litellm_key=INTERNAL)

        await check(f"key-{KEY}")
        with pytest.raises(BackendRefused, match="refused the key"):
            await check("key-another")
        with pytest.raises((BackendRefused, BackendUnavailable)):
            await check("small", None)
