"""The queue before a backend that serves one call at a time: whose turn it is, who left, and what a caller is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

import aiohttp
import pytest

from clawloops.gateway.queue import MOST_WAITING
from tests.gateway.gate import Gateway
from tests.upstream import Script

BOB = "runtime-token-of-bob"


@pytest.fixture
async def bob(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    """Another member's runtime, on an address of its own."""
    digest = sha256(BOB.encode()).digest()
    gateway.directory.set_runtime(digest, runtime_id="r-bob", user_id="u-bob", address="127.0.0.2")
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {BOB}"}, connector=connector) as session:
        yield session


@pytest.fixture(autouse=True)
def served(gateway: Gateway) -> None:
    for name in ("small", "held"):
        gateway.serve_model(name, slots=1)
    gateway.upstream.scripts["held"] = Script(stepwise=True)
    gateway.attended.update(("r-ada", "r-bob"))


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def _call(gateway: Gateway, session: aiohttp.ClientSession, model: str = "small") -> aiohttp.ClientResponse:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": model == "held"}
    answer = await session.post(gateway.url + "/v1/chat/completions", json=body)
    await answer.read()
    return answer


@asynccontextmanager
async def _held(gateway: Gateway) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Somebody of the house has the only seat, and the beginning of an answer, until what is yielded is called."""
    answer = await gateway.post("held", stream=True)

    async def release() -> None:
        for _ in range(20):
            gateway.upstream.step()
        await answer.read()

    yield release
    answer.close()


def _waiting(gateway: Gateway) -> int:
    return sum(each.place > 0 for each in gateway.queue.standings("b" + "0" * 16))


async def test_one_runs_and_the_others_wait_and_are_told_where_they_stood(gateway: Gateway) -> None:
    async with _held(gateway) as release:
        first = asyncio.create_task(_call(gateway, gateway.session))
        await _until(lambda: _waiting(gateway) == 1)
        second = asyncio.create_task(_call(gateway, gateway.session))
        await _until(lambda: _waiting(gateway) == 2)
        assert len(gateway.upstream.seen) == 1
        running, one, two = gateway.queue.standings("b" + "0" * 16)
        assert (running.place, one.place, two.place, one.model) == (0, 1, 2, "small")
        assert two.expected_s > one.expected_s > 0
        await asyncio.sleep(0.3)
        await release()
        answers = [await first, await second]
    told = [{name: each.headers[f"X-ClawLoops-Queue-{name}"] for name in ("Place", "Waited")} for each in answers]
    assert [each["Place"] for each in told] == ["1", "2"]
    assert all(float(each["Waited"]) >= 0.2 for each in told)
    assert gateway.queue.standings("b" + "0" * 16) == []
    held, *others = gateway.settled
    assert held.queue_ms == 0 and held.held_ms >= 300
    assert all(call.queue_ms >= 200 and call.held_ms <= call.total_ms - call.queue_ms + 5 for call in others)


async def test_who_has_had_less_is_next_however_late_they_come(gateway: Gateway, bob: aiohttp.ClientSession) -> None:
    async with _held(gateway) as release:
        mine = [asyncio.create_task(_call(gateway, gateway.session)) for _ in range(5)]
        await _until(lambda: _waiting(gateway) == 5)
        his = asyncio.create_task(_call(gateway, bob))
        await _until(lambda: _waiting(gateway) == 6)
        assert next(each for each in gateway.queue.standings("b" + "0" * 16) if each.user_id == "u-bob").place == 1
        await release()
        await asyncio.gather(*mine, his)
    assert [call.user_id for call in gateway.settled][:2] == ["u-ada", "u-bob"]


async def test_background_work_waits_for_a_persons_turn(gateway: Gateway, bob: aiohttp.ClientSession) -> None:
    gateway.attended.clear()
    async with _held(gateway) as release:
        background = asyncio.create_task(_call(gateway, bob))
        await _until(lambda: _waiting(gateway) == 1)
        gateway.attended.add("r-ada")
        person = asyncio.create_task(_call(gateway, gateway.session))
        await _until(lambda: _waiting(gateway) == 2)
        standings = gateway.queue.standings("b" + "0" * 16)
        assert [(each.user_id, each.is_background) for each in standings[1:]] == [("u-ada", False), ("u-bob", True)]
        await release()
        await asyncio.gather(background, person)
    assert [call.user_id for call in gateway.settled] == ["u-ada", "u-ada", "u-bob"]


async def test_a_caller_who_leaves_frees_the_place_and_the_seat_at_once(
    gateway: Gateway, bob: aiohttp.ClientSession
) -> None:
    holding = asyncio.create_task(_call(gateway, bob, "held"))
    await _until(lambda: bool(gateway.upstream.seen) and gateway.upstream.seen[-1].sent > 0)
    leaving = asyncio.create_task(_call(gateway, gateway.session))
    staying = asyncio.create_task(_call(gateway, gateway.session))
    await _until(lambda: _waiting(gateway) == 2)
    leaving.cancel()
    await _until(lambda: _waiting(gateway) == 1)
    begun = asyncio.get_running_loop().time()
    holding.cancel()
    assert (await staying).status == 200
    assert asyncio.get_running_loop().time() - begun < 0.5
    await _until(lambda: len(gateway.settled) == 3)
    assert sorted(call.status for call in gateway.settled) == [200, 499, 499]
    assert len(gateway.upstream.seen) == 2, "who left before their turn was never sent on"


async def test_a_refused_or_broken_call_frees_its_seat(gateway: Gateway) -> None:
    for name in ("error-400", "error-500", "cut-1"):
        gateway.serve_model(name, slots=1)
        answer = await gateway.post(name, stream=True)
        if name == "cut-1":
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        answer.close()
        await _until(lambda: gateway.queue.standings("b" + "0" * 16) == [])
    assert (await _call(gateway, gateway.session)).status == 200


async def test_one_member_cannot_fill_the_queue(gateway: Gateway, bob: aiohttp.ClientSession) -> None:
    async with _held(gateway) as release:
        mine = [asyncio.create_task(_call(gateway, gateway.session)) for _ in range(MOST_WAITING)]
        await _until(lambda: _waiting(gateway) == MOST_WAITING)
        refused = await _call(gateway, gateway.session)
        assert (refused.status, (await refused.json())["error"]["code"]) == (429, "queue_full")
        his = asyncio.create_task(_call(gateway, bob))
        await _until(lambda: _waiting(gateway) == MOST_WAITING + 1)
        await release()
        assert {answer.status for answer in await asyncio.gather(*mine, his)} == {200}


async def test_a_backend_that_is_to_be_tried_again_is_not_left_alone_because_its_trial_never_came(
    gateway: Gateway,
) -> None:
    backend_id = "b" + "0" * 16
    async with _held(gateway):
        for _ in range(6):
            gateway.health.failed(backend_id, "it was down", 0.0, at=0)  # its rest has long been over
        trial = asyncio.create_task(_call(gateway, gateway.session))
        await _until(lambda: _waiting(gateway) == 1)
        assert gateway.health.wait_s(backend_id, time.monotonic()) > 0
        trial.cancel()
        await _until(lambda: _waiting(gateway) == 0)
        await _until(lambda: gateway.health.wait_s(backend_id, time.monotonic()) == 0)
