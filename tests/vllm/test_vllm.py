"""vLLM behind the gateway: each dialect that it speaks itself, its usage, its checks, its end when a caller leaves."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from clawloops.bench.peers import free_port
from clawloops.errors import BackendRefused
from clawloops.gateway import providers
from clawloops.gateway.resolve import upstream_session
from clawloops.model.budget import Budget, Measure, Scope, Span
from clawloops.model.provider import Backend, BackendKind
from tests.conftest import ROOT
from tests.gateway.conftest import gateway, upstream
from tests.gateway.gate import TOKEN, Gateway

__all__ = ["gateway", "upstream"]

pytestmark = [pytest.mark.vllm, pytest.mark.limit(600)]
KEY = "sk-canary-of-vllm"
SAY: list[Any] = [{"role": "user", "content": "Hello, tiny model"}]


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address, with /v1."""
    python = Path(os.environ.get("CLAWLOOPS_VLLM_VENV") or ROOT / ".venv-vllm") / "bin" / "python"
    if not python.exists():
        pytest.fail(f"vLLM is not in {python.parents[1]}: run tests/run vllm, which puts it there", pytrace=False)
    folder, port = tmp_path_factory.mktemp("vllm"), free_port()
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HOME": str(folder),
               "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}  # fmt: skip
    subprocess.run([python, "-m", "tests.vllm.tiny", folder / "tiny"], check=True, cwd=ROOT, env=environ)
    command = [
        *(str(python.with_name("vllm")), "serve", str(folder / "tiny"), "--host", "127.0.0.1", "--port", str(port)),
        *("--served-model-name", "tiny", "--max-model-len", "1024", "--api-key", KEY),
    ]
    log = folder / "vllm.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=output, stderr=output)
    try:
        until = time.monotonic() + 300
        while True:
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)
    assert KEY not in log.read_text()


@pytest.fixture
def served(gateway: Gateway, vllm: str) -> Gateway:
    gateway.serve_model("tiny", url=vllm, key=KEY)
    return gateway


async def test_it_is_checked_as_a_backend_before_it_is_kept(vllm: str) -> None:
    backend = Backend("b0", "vLLM", BackendKind.OPENAI, vllm, "", 1)
    parts: dict[str, Any] = {"litellm_url": "", "litellm_key": ""}
    async with upstream_session() as session:
        assert await providers.probe(session, backend, KEY, model=None, **parts) == ["tiny"]
        await providers.check(session, backend, KEY, model="tiny", **parts)
        with pytest.raises(BackendRefused):
            await providers.check(session, backend, "sk-wrong", model="tiny", **parts)


@pytest.mark.parametrize("streamed", [True, False])
async def test_openais_sdk_chats_with_it_and_its_usage_is_counted(served: Gateway, *, streamed: bool) -> None:
    client = openai.AsyncOpenAI(api_key=TOKEN, base_url=f"{served.url}/v1", max_retries=0)
    asked: dict[str, Any] = {"model": "tiny", "messages": SAY, "max_tokens": 12, "temperature": 0}
    if streamed:
        chunks = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
        assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1
        assert all(chunk.usage is None for chunk in chunks), "the usage that nobody asked for is hidden"
    else:
        answer = await client.chat.completions.create(**asked)
        assert answer.usage is not None and answer.usage.completion_tokens == 12
    await client.close()
    (call,) = served.settled
    assert (call.status, call.tokens.output) == (200, 12)
    assert call.tokens.input > 5


async def test_it_answers_the_other_dialects_that_it_speaks_itself(served: Gateway) -> None:
    fields: dict[str, Any]
    for path, fields in (
        ("/v1/completions", {"prompt": "Hello", "max_tokens": 5}),
        ("/v1/responses", {"input": "Hello", "max_output_tokens": 5}),
        ("/v1/messages", {"messages": SAY, "max_tokens": 5}),
    ):
        async with served.session.post(f"{served.url}{path}", json={"model": "tiny", **fields}) as answer:
            assert answer.status == 200, f"{path}: {await answer.text()}"
            assert (await answer.json())["model"]
        assert served.settled[-1].tokens.output == 5, path
        assert served.settled[-1].tokens.input > 0, path


async def test_structured_output_passes_unharmed(served: Gateway) -> None:
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"],
              "additionalProperties": False}  # fmt: skip
    async with await served.post(
        "tiny", response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}, max_tokens=100
    ) as answer:
        text = (await answer.json())["choices"][0]["message"]["content"]
    assert re.search(r'"yes"\s*:\s*(true|false)', text), text


async def test_a_caller_who_leaves_ends_the_work_in_vllm(served: Gateway, vllm: str) -> None:
    body = {"model": "tiny", "messages": SAY, "stream": True, "max_tokens": 900}
    answer = await served.session.post(f"{served.url}/v1/chat/completions", json=body)
    await answer.content.readuntil(b"\n\n")
    answer.close()

    async def running() -> float:
        async with aiohttp.ClientSession() as session, session.get(vllm.removesuffix("/v1") + "/metrics") as metrics:
            found = re.search(r"^vllm:num_requests_running\{.*\} ([\d.]+)$", await metrics.text(), re.MULTILINE)
            assert found
            return float(found[1])

    async with asyncio.timeout(10):
        while await running():
            await asyncio.sleep(0.1)
    assert served.settled[-1].status == 499


async def test_a_budget_shortens_what_it_is_asked_for(served: Gateway) -> None:
    budget = Budget("l0", Scope.EACH, "", Measure.TOKENS, Span.MONTH, 120, is_background=False, created_at=1)
    served.budgets.set([budget], {}, {}, now=int(time.time() * 1000))
    async with await served.post("tiny", temperature=0) as answer:
        assert (await answer.json())["choices"][0]["finish_reason"] == "length"
    (call,) = served.settled
    assert 20 < call.tokens.input + call.tokens.output <= 120


async def test_what_it_refuses_is_said_in_its_own_words(served: Gateway) -> None:
    async with await served.post("tiny", max_tokens=100_000) as answer:
        assert answer.status == 400
        assert "Lab server" in (await answer.json())["error"]["message"]
    async with await served.post("tiny", temperature=-5) as answer:
        assert answer.status == 400
