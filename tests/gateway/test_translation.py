"""What a backend does not speak is translated by the real LiteLLM: callers' dialects and providers' own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clawloops.model.provider import BackendKind
from clawloops.model.usage import Tokens
from tests.conftest import ROOT
from tests.gateway.gate import KEY, TOKEN, Gateway
from tests.gateway.translator import INTERNAL
from tests.upstream import WORDS, Script, serve

pytestmark = [pytest.mark.litellm, pytest.mark.limit(180)]
HELLO = "".join(WORDS)
SAY = [{"role": "user", "content": "Hello"}]
CALLS: dict[str, dict[str, Any]] = {
    "/v1/responses": {"input": "Hello"},
    "/v1/messages": {"messages": SAY, "max_tokens": 9},
}


async def _said(gateway: Gateway, path: str, model: str, *, stream: bool) -> str:
    body = {"model": model, **CALLS[path], "stream": stream}
    async with gateway.session.post(gateway.url + path, json=body) as answer:
        text = await answer.text()
    assert answer.status == 200, (text, gateway.upstream.missed)
    assert KEY not in text and INTERNAL not in text
    if not stream:
        told = json.loads(text)
        message = told["output"][0] if path == "/v1/responses" else told
        return str(message["content"][0]["text"])
    lines = [line[5:] for line in text.splitlines() if line.startswith("data:") and "[DONE]" not in line]
    deltas = [
        event["delta"] for event in map(json.loads, lines) if event["type"].endswith(("text.delta", "block_delta"))
    ]
    return "".join(delta if isinstance(delta, str) else delta["text"] for delta in deltas)


@pytest.mark.parametrize("kind", [BackendKind.OPENAI, BackendKind.OLLAMA])
@pytest.mark.parametrize("path", CALLS)
async def test_a_server_that_knows_only_chat_is_reached_in_every_dialect(
    behind: Gateway, path: str, kind: BackendKind
) -> None:
    async with serve(without=tuple(CALLS)) as plain:
        behind.serve_model("plain", kind=kind, url=plain.url + ("/v1" if kind is BackendKind.OPENAI else ""))
        for stream in (False, True, True):
            assert await _said(behind, path, "plain", stream=stream) == HELLO
        asked = [(seen.path, seen.authorization, seen.body["model"]) for seen in plain.seen]
    assert asked == [("/v1/chat/completions", f"Bearer {KEY}", "plain")] * 3
    assert [call.tokens for call in behind.settled] == [Tokens(11, 5, 4, int(path == "/v1/responses"))] * 3


async def test_a_server_without_an_endpoint_is_asked_for_it_once(behind: Gateway) -> None:
    async with serve(without=["/v1/responses"]) as plain:
        behind.serve_model("plain", url=f"{plain.url}/v1")
        for path in ("/v1/responses", "/v1/responses", "/v1/messages"):
            await _said(behind, path, "plain", stream=False)
        assert plain.missed == ["/v1/responses"]
        assert [seen.path for seen in plain.seen] == ["/v1/chat/completions", "/v1/chat/completions", "/v1/messages"]


async def test_a_model_that_is_gone_is_said_in_the_callers_dialect(behind: Gateway) -> None:
    async with serve(without=("/v1/messages", "/v1/chat/completions")) as nothing:
        behind.serve_model("gone", url=f"{nothing.url}/v1")
        body = {"model": "gone", **CALLS["/v1/messages"]}
        async with behind.session.post(f"{behind.url}/v1/messages", json=body) as answer:
            assert answer.status == 502
            error = (await answer.json())["error"]
    assert (error["type"], "does not know this model" in error["message"]) == ("api_error", True)


async def test_tokens_are_estimated_where_a_backend_does_not_count_them(behind: Gateway) -> None:
    async with serve(without=["/v1/messages/count_tokens"]) as plain:
        behind.serve_model("plain", kind=BackendKind.OLLAMA, url=plain.url)
        body = {"model": "plain", "messages": SAY}
        async with behind.session.post(f"{behind.url}/v1/messages/count_tokens", json=body) as answer:
            assert 0 < (await answer.json())["input_tokens"] < 50
        assert plain.seen == []


# --- providers


PROVIDERS = {  # where each is asked
    "anthropic": {"/v1/messages"},
    "azure": {"/openai/deployments/small/chat/completions", "/openai/v1/responses"},
    "gemini": {"/models/small:generateContent", "/models/small:streamGenerateContent"},
    "mistral": {"/v1/chat/completions"},
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", *CALLS])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_four_providers_answer_in_every_dialect(behind: Gateway, provider: str, path: str) -> None:
    address = behind.upstream.url + ("/v1" if provider == "mistral" else "")
    behind.serve_model("small", kind=BackendKind.LITELLM, provider=provider, url=address)
    behind.upstream.scripts["small"] = Script(tells=True)
    for stream in (False, True):
        if path in CALLS:
            assert await _said(behind, path, "small", stream=stream) == HELLO
            continue
        async with await behind.post("small", stream=stream) as answer:
            text = await answer.text()
        assert answer.status == 200, (text, behind.upstream.missed)
        assert " scripted" in text
    whole, streamed = behind.upstream.seen
    assert {whole.path, streamed.path} <= PROVIDERS[provider]
    assert KEY in str([seen.headers for seen in (whole, streamed)])
    assert INTERNAL not in str([seen.headers for seen in (whole, streamed)])
    assert [(call.tokens.input, call.tokens.output, call.tokens.cached) for call in behind.settled] == [(11, 5, 4)] * 2


# --- LiteLLM's own SDK, as a caller

SDK = """
import json, sys, litellm
url, key = sys.argv[1:]
litellm.telemetry = False
said, ask = {}, {"model": "openai/small", "api_base": url + "/v1", "api_key": key, "num_retries": 0}
say = [{"role": "user", "content": "Hello"}]
tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
said["whole"] = litellm.completion(messages=say, **ask).choices[0].message.content
chunks = litellm.completion(messages=say, stream=True, **ask)
said["stream"] = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
called = litellm.completion(messages=say, tools=[tool], **{**ask, "model": "openai/tools"})
said["tool"] = called.choices[0].message.tool_calls[0].function.name
said["embedding"] = litellm.embedding(input=["Hello"], encoding_format="float", **ask).data[0]["embedding"]
said["responses"] = litellm.responses(input="Hello", **ask).output[0].content[0].text
claude = {**ask, "model": "anthropic/small", "api_base": url}
said["messages"] = litellm.completion(messages=say, **claude).choices[0].message.content
for name in ("other", "error-429"):
    try:
        litellm.completion(messages=say, **{**ask, "model": "openai/" + name})
    except Exception as error:
        said[name] = type(error).__name__
print(json.dumps(said))
"""


async def test_litellms_own_sdk_is_served(gateway: Gateway) -> None:
    venv = Path(os.environ.get("CLAWLOOPS_LITELLM_VENV") or ROOT / ".venv-litellm")
    for name in ("small", "tools", "error-429"):
        gateway.serve_model(name, kind=BackendKind.OLLAMA)
    process = await _run(str(venv / "bin" / "python"), "-c", SDK, gateway.url, TOKEN)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1]) == {
        **dict.fromkeys(("whole", "stream", "responses", "messages"), HELLO),
        "tool": "weather",
        "embedding": [0.25, -0.5],
        "other": "APIError",  # its class for a 403
        "error-429": "RateLimitError",
    }


async def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return await asyncio.to_thread(
        subprocess.run, command, env=environ, capture_output=True, text=True, timeout=90, check=False
    )
