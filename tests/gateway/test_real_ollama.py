"""The fair queue before a real Ollama: one call at a time, each member its share, and no seat for who has left."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from clawloops.gateway.ollama import Ollama
from clawloops.model.provider import BackendKind
from tests.gateway.gate import Gateway
from tests.ollama import docker_client, gguf, ollama

__all__ = ["docker_client", "gguf", "ollama"]

pytestmark = pytest.mark.docker
BOB = "runtime-token-of-bob"


@pytest.fixture
async def bob(gateway: Gateway, ollama: str, gguf: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Another member's client, once two models are served by a real Ollama that takes one call at a time."""
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for name in ("red", "blue"):
            await Ollama(session, ollama).import_file(name, gguf, digest)
    for name in ("red", "blue"):
        gateway.serve_model(name, kind=BackendKind.OLLAMA, url=ollama, key=None, slots=1)
    gateway.directory.set_runtime(
        sha256(BOB.encode()).digest(), runtime_id="r-bob", user_id="u-bob", address="127.0.0.2"
    )
    gateway.attended.add("r-bob")
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0), limit=0)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {BOB}"}, connector=connector) as session:
        yield session


async def _say(session: aiohttp.ClientSession, gateway: Gateway, model: str, words: int) -> aiohttp.ClientResponse:
    body = {
        "model": model, "stream": False, "messages": [{"role": "user", "content": f"Say {words} words"}],
        "max_tokens": words,
    }  # fmt: skip
    async with session.post(f"{gateway.url}/v1/chat/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
        return answer


async def test_each_member_has_half_of_ollama_however_much_one_of_them_asks(
    gateway: Gateway, bob: aiohttp.ClientSession
) -> None:
    await _say(gateway.session, gateway, "red", 1)  # it is loaded
    gateway.settled.clear()
    asking = [asyncio.create_task(_say(gateway.session, gateway, "red", 24)) for _ in range(16)]
    await asyncio.sleep(0.05)
    asking += [asyncio.create_task(_say(bob, gateway, "red", 24)) for _ in range(5)]
    answers = await asyncio.gather(*asking)
    order = [call.user_id for call in gateway.settled]
    assert order.count("u-ada") == 16
    held = [call.held_ms for call in gateway.settled]
    before = gateway.settled[: max(at for at, who in enumerate(order) if who == "u-bob")]
    ada, bob_ = (sum(call.held_ms for call in before if call.user_id == who) for who in ("u-ada", "u-bob"))
    # It is time that is shared: a call that a busy machine draws out counts for as many.
    assert ada <= bob_ + 3 * max(held), (
        f"Bob's last call had to wait: {[(c.user_id, c.held_ms) for c in gateway.settled]}"
    )
    spans = sorted((call.at + call.queue_ms, call.at + call.queue_ms + call.held_ms) for call in gateway.settled)
    overlaps = [begun - ended for (_, ended), (begun, _) in pairwise(spans)]
    assert min(overlaps) > -30, "two calls ran at once"
    assert all(each > 0 for each in held)
    waited = [float(each.headers["X-ClawLoops-Queue-Waited"]) for each in answers]
    assert max(waited) >= max(call.queue_ms for call in gateway.settled) / 1000 - 0.1


async def test_calls_of_the_loaded_model_go_together(gateway: Gateway, bob: aiohttp.ClientSession) -> None:
    await _say(gateway.session, gateway, "red", 1)
    gateway.settled.clear()
    asking = [asyncio.create_task(_say(gateway.session, gateway, "red", 24))]
    await asyncio.sleep(0.02)
    for number in range(10):
        model, who = ("red", gateway.session) if number % 2 else ("blue", bob)
        asking.append(asyncio.create_task(_say(who, gateway, model, 24)))
    await asyncio.gather(*asking)
    models = [call.model for call in gateway.settled]
    changes = sum(a != b for a, b in pairwise(models))
    assert changes <= 4, f"Ollama would load a model {changes} times: {models}"


async def test_who_leaves_in_the_middle_gives_the_seat_to_the_next(
    gateway: Gateway, bob: aiohttp.ClientSession
) -> None:
    await _say(gateway.session, gateway, "red", 1)
    body = {"model": "red", "messages": [{"role": "user", "content": "word " * 1500}], "stream": True}
    leaving = asyncio.create_task(gateway.session.post(f"{gateway.url}/v1/chat/completions", json=body))
    async with asyncio.timeout(5):
        while len(gateway.queue.all()) < 1:
            await asyncio.sleep(0.002)
    waiting = asyncio.create_task(_say(bob, gateway, "red", 4))
    leaving.cancel()
    left_at = time.monotonic()
    await waiting
    assert time.monotonic() - left_at < 5
    assert gateway.queue.all() == []
    assert [call.status for call in gateway.settled] == [200, 499, 200]
