"""The official Python SDKs of OpenAI and of Anthropic, used as their documentation says, against the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from clawloops.model.provider import BackendKind
from clawloops.model.usage import Tokens
from tests.gateway.gate import TOKEN, Gateway

HELLO = "Hello from the scripted upstream."
SAY: Any = [{"role": "user", "content": "Hello"}]
PARAMETERS: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
COUNTED = Tokens(11, 5, 4, 1)


@pytest.fixture
async def served(gateway: Gateway) -> Gateway:
    for name in ("small", "tools", "error-429", "error-500", "hang", "hang-2"):
        gateway.serve_model(name, kind=BackendKind.OLLAMA)
    return gateway


@pytest.fixture
async def of_openai(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


@pytest.fixture
async def of_anthropic(served: Gateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key=TOKEN, max_retries=0) as client:
        yield client


async def _left(gateway: Gateway) -> None:
    async with asyncio.timeout(5):
        while not (gateway.settled and gateway.upstream.seen[0].left):
            await asyncio.sleep(0.005)
    assert [call.status for call in gateway.settled] == [499]


# --- OpenAI


async def test_openai_chats_whole_and_streamed(served: Gateway, of_openai: openai.AsyncOpenAI) -> None:
    answer = await of_openai.chat.completions.create(model="small", messages=SAY)
    assert answer.choices[0].message.content == HELLO
    said = ""
    options: Any = {"include_usage": True}
    async for chunk in await of_openai.chat.completions.create(
        model="small", messages=SAY, stream=True, stream_options=options
    ):
        said += "".join(choice.delta.content or "" for choice in chunk.choices)
        last = chunk
    assert said == HELLO
    assert last.usage is not None and last.usage.prompt_tokens == 11
    assert [call.tokens for call in served.settled] == [COUNTED] * 2


async def test_openai_calls_tools_and_embeds_and_lists(served: Gateway, of_openai: openai.AsyncOpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
    answer = await of_openai.chat.completions.create(model="tools", messages=SAY, tools=[tool])
    called = (answer.choices[0].message.tool_calls or [])[0]
    assert called.type == "function" and called.function.name == "weather"
    embedded = await of_openai.embeddings.create(model="small", input="Hello", encoding_format="float")
    assert embedded.data[0].embedding == [0.25, -0.5]
    assert [each.id async for each in of_openai.models.list()][:2] == ["small", "tools"]
    assert (await of_openai.models.retrieve("small")).owned_by == "clawloops"


async def test_openai_responds_whole_streamed_and_with_tools(served: Gateway, of_openai: openai.AsyncOpenAI) -> None:
    answer = await of_openai.responses.create(model="small", input="Hello")
    assert answer.output_text == HELLO
    async with of_openai.responses.stream(model="small", input="Hello") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(deltas) == final.output_text == HELLO
    tool: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS}
    answer = await of_openai.responses.create(model="tools", input="Hello", tools=[tool])
    assert answer.output[0].type == "function_call" and answer.output[0].name == "weather"
    assert [call.tokens for call in served.settled] == [COUNTED] * 3


async def test_openai_raises_its_own_errors(served: Gateway, of_openai: openai.AsyncOpenAI) -> None:
    async def create(model: str, **more: Any) -> None:
        await of_openai.chat.completions.create(model=model, messages=SAY, **more)

    with pytest.raises(openai.PermissionDeniedError, match="no model 'other' for you"):
        await create("other")
    with pytest.raises(openai.BadRequestError, match="set by the admin") as refused:
        await create("small", extra_body={"api_base": "http://x"})
    assert refused.value.param == "api_base"
    with pytest.raises(openai.RateLimitError):
        await create("error-429")
    with pytest.raises(openai.InternalServerError, match=r"failed \(HTTP 500\)"):
        await create("error-500")
    with pytest.raises(openai.AuthenticationError):
        await of_openai.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.BadRequestError, match="nothing is kept"):
        await of_openai.responses.create(model="small", input="Hello", previous_response_id="resp_1")


async def test_openai_gives_up_in_time_and_the_upstream_hears_of_it(
    served: Gateway, of_openai: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.APITimeoutError):
        await of_openai.with_options(timeout=0.3).chat.completions.create(model="hang", messages=SAY)
    await _left(served)


async def test_openai_cancels_a_stream(served: Gateway, of_openai: openai.AsyncOpenAI) -> None:
    stream = await of_openai.chat.completions.create(model="hang-2", messages=SAY, stream=True)
    assert (await anext(stream)).choices[0].delta.content == "Hello"
    await stream.close()
    await _left(served)


# --- Anthropic


async def test_anthropic_speaks_whole_and_streamed(served: Gateway, of_anthropic: anthropic.AsyncAnthropic) -> None:
    answer = await of_anthropic.messages.create(model="small", max_tokens=9, messages=SAY)
    assert answer.content[0].type == "text" and answer.content[0].text == HELLO
    async with of_anthropic.messages.stream(model="small", max_tokens=9, messages=SAY) as stream:
        said = "".join([text async for text in stream.text_stream])
        final = await stream.get_final_message()
    assert said == HELLO
    assert (final.usage.input_tokens, final.usage.output_tokens) == (7, 5)
    assert [call.tokens for call in served.settled] == [Tokens(11, 5, 4)] * 2


async def test_anthropic_calls_tools_counts_and_lists(served: Gateway, of_anthropic: anthropic.AsyncAnthropic) -> None:
    tool: Any = {"name": "weather", "description": "of a city", "input_schema": PARAMETERS}
    answer = await of_anthropic.messages.create(model="tools", max_tokens=9, messages=SAY, tools=[tool])
    assert answer.content[0].type == "tool_use" and answer.content[0].input == {"city": "Bern"}
    async with of_anthropic.messages.stream(model="tools", max_tokens=9, messages=SAY, tools=[tool]) as stream:
        final = await stream.get_final_message()
    assert final.content[0].type == "tool_use" and final.content[0].input == {"city": "Bern"}
    assert (await of_anthropic.messages.count_tokens(model="small", messages=SAY)).input_tokens == 11
    assert [each.id async for each in of_anthropic.models.list()][:2] == ["small", "tools"]


async def test_anthropic_raises_its_own_errors(served: Gateway, of_anthropic: anthropic.AsyncAnthropic) -> None:
    async def create(model: str, **more: Any) -> None:
        await of_anthropic.messages.create(model=model, max_tokens=9, messages=SAY, **more)

    with pytest.raises(anthropic.PermissionDeniedError, match="no model 'other' for you"):
        await create("other")
    with pytest.raises(anthropic.BadRequestError, match="set by the admin"):
        await create("small", extra_body={"mcp_servers": []})
    with pytest.raises(anthropic.RateLimitError):
        await create("error-429")
    with pytest.raises(anthropic.InternalServerError, match=r"failed \(HTTP 500\)"):
        await create("error-500")
    with pytest.raises(anthropic.AuthenticationError):
        await of_anthropic.with_options(api_key="wrong").models.list()


async def test_anthropic_gives_up_and_cancels(served: Gateway, of_anthropic: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APITimeoutError):
        await of_anthropic.with_options(timeout=0.3).messages.create(model="hang", max_tokens=9, messages=SAY)
    await _left(served)
    served.settled.clear()
    served.upstream.seen.clear()
    stream = await of_anthropic.messages.create(model="hang-2", max_tokens=9, messages=SAY, stream=True)
    assert (await anext(aiter(stream))).type == "message_start"
    await stream.close()
    await _left(served)
