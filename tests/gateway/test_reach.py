"""A name that leads to several places, with several keys: what fails before the first byte is made good elsewhere."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from clawloops.gateway.health import Health
from clawloops.model.provider import Backend, BackendKind, Credential, Place, Route, Target
from tests.gateway.gate import Gateway, named
from tests.upstream import Script, Upstream, serve

_number = itertools.count()


@pytest.fixture
async def other() -> AsyncIterator[Upstream]:
    """A second backend."""
    async with serve() as running:
        yield running


def _target(server: Upstream | str, upstream: str, *keys: Credential, id_: str = "") -> Target:
    url = server if isinstance(server, str) else server.url
    backend_id = id_ or f"b-{url}-{next(_number)}"
    return Target(Backend(backend_id, f"at {url}", BackendKind.OPENAI, f"{url}/v1", "", 1), upstream, keys)


def _serve(gateway: Gateway, *targets: Target, name: str = "best") -> None:
    places = [Place(each.backend.id, each.upstream) for each in targets]
    gateway.directory.set_routes([Route(named(name, *places), targets)])


async def _asked(gateway: Gateway, **fields: Any) -> tuple[int, Any]:
    async with await gateway.post("best", **fields) as answer:
        return answer.status, await (answer.text() if fields.get("stream") else answer.json())


def _closed() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("failing", "stream"),
    [
        *((f"error-{status}", stream) for status in (404, 408, 500, 503) for stream in (False, True)),
        *(("closed", False), ("closed", True), ("cut-0", True)),
    ],
)
async def test_the_next_place_answers_while_the_first_does_not(
    gateway: Gateway, other: Upstream, failing: str, stream: bool
) -> None:
    first = _target(_closed(), "small") if failing == "closed" else _target(gateway.upstream, failing)
    _serve(gateway, first, second := _target(other, "small"))
    status, answer = await _asked(gateway, stream=stream)
    assert status == 200
    assert ("Hello" in answer) if stream else answer["choices"]
    assert [(each.body["model"]) for each in other.seen] == ["small"]
    (call,) = gateway.settled
    assert (call.status, call.backend_id, call.model) == (200, second.backend.id, "best")


@pytest.mark.parametrize("status", [400, 422])
async def test_a_call_that_is_at_fault_itself_goes_nowhere_else(gateway: Gateway, other: Upstream, status: int) -> None:
    _serve(gateway, _target(gateway.upstream, f"error-{status}"), _target(other, "small"))
    assert (await _asked(gateway))[0] == status
    assert len(gateway.upstream.seen) == 1
    assert other.seen == []


async def test_a_stream_that_has_begun_is_never_begun_again_elsewhere(gateway: Gateway, other: Upstream) -> None:
    _serve(gateway, _target(gateway.upstream, "cut-2"), _target(other, "small"))
    async with await gateway.post("best", stream=True) as answer:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert other.seen == []
    assert [call.status for call in gateway.settled] == [502]


async def test_all_places_failing_tells_of_the_last_and_counts_once(gateway: Gateway, other: Upstream) -> None:
    _serve(gateway, _target(gateway.upstream, "error-500"), _target(other, "error-404"))
    status, answer = await _asked(gateway)
    assert (status, answer["error"]["code"]) == (502, "backend_model_unknown")
    assert (len(gateway.upstream.seen), len(other.seen), len(gateway.settled)) == (1, 1, 1)


async def test_a_passing_failure_is_tried_again_after_a_pause(gateway: Gateway) -> None:
    gateway.upstream.scripts["small"] = Script(status=503)
    _serve(gateway, _target(gateway.upstream, "small"))

    async def mend() -> None:
        while len(gateway.upstream.seen) < 2:
            await asyncio.sleep(0.01)
        gateway.upstream.scripts["small"] = Script()

    mending = asyncio.create_task(mend())
    assert (await _asked(gateway))[0] == 200
    await mending
    assert len(gateway.upstream.seen) == 3


async def test_keys_take_turns_when_one_is_refused_or_slowed_down(gateway: Gateway) -> None:
    keys = [Credential(f"c{number}", f"sk-canary-{number}-0123456789") for number in range(3)]
    gateway.upstream.scripts["small"] = Script(key=keys[2].key)
    _serve(gateway, _target(gateway.upstream, "small", *keys))
    assert (await _asked(gateway))[0] == 200
    assert (await _asked(gateway))[0] == 200
    used = [each.authorization.removeprefix("Bearer ") for each in gateway.upstream.seen]
    assert used == [keys[0].key, keys[1].key, keys[2].key, keys[2].key], "a refused key is passed over from then on"
    gateway.upstream.scripts["small"] = Script(status=429, headers={"Retry-After": "60"})
    status, answer = await _asked(gateway)
    assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    assert not any(each.key in str(answer) for each in keys)


async def test_a_group_has_its_own_key_and_others_do_not_use_it(gateway: Gateway) -> None:
    everybody = Credential("c1", "sk-of-everybody-00")
    ours = Credential("c2", "sk-of-our-group-00", frozenset({"u-ada"}))
    theirs = Credential("c3", "sk-of-their-group", frozenset({"u-bob"}))
    for keys, used in (((everybody, theirs, ours), ours), ((theirs, everybody), everybody)):
        _serve(gateway, _target(gateway.upstream, "small", *keys))
        assert (await _asked(gateway))[0] == 200
        assert gateway.upstream.seen[-1].authorization == f"Bearer {used.key}"
    _serve(gateway, _target(gateway.upstream, "small", theirs))
    status, answer = await _asked(gateway)
    assert (status, answer["error"]["code"]) == (403, "no_key_for_you")
    assert len(gateway.upstream.seen) == 2


async def test_a_backend_that_fails_again_and_again_is_left_alone_and_then_tried_by_one(
    gateway: Gateway, other: Upstream
) -> None:
    gateway.upstream.scripts["small"] = Script(status=502)
    resting = _target(gateway.upstream, "small")
    _serve(gateway, resting, _target(other, "small"))
    for _ in range(8):
        assert (await _asked(gateway))[0] == 200
    assert len(gateway.upstream.seen) == 6
    _serve(gateway, resting)
    async with await gateway.post("best") as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (503, "backend_unavailable")
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
        assert f"{answer.headers['Retry-After']} s more" in error["message"]
    assert len(gateway.upstream.seen) == 6
    gateway.upstream.scripts["small"] = Script()
    gateway.health.worked(resting.backend.id)  # as the check each 15 s finds it
    assert (await _asked(gateway))[0] == 200


def test_health_lets_one_call_try_and_rests_longer_each_time() -> None:
    health = Health()
    for _ in range(5):
        health.failed("b", "HTTP 502", 0.0, at=1)
    assert health.admits("b", 0.0)
    for _ in range(20):  # many were under way
        health.failed("b", "HTTP 502", 0.0, at=2)
    assert health.wait_s("b", 0.0) == 5.0
    assert health.condition("b", 0.0).since == 1
    assert not health.admits("b", 4.9)
    assert [health.admits("b", 5.0) for _ in range(3)] == [True, False, False]
    health.failed("b", "HTTP 502", 6.0, at=3)
    assert health.wait_s("b", 6.0) == 10.0
    assert health.admits("b", 16.0)
    health.untried("b")
    assert health.admits("b", 16.0), "the one that tried it left without a verdict"
    for start in range(10):
        health.failed("b", "HTTP 502", now := 1000.0 * (start + 1), at=4)
        assert health.wait_s("b", now) <= 120.0
        assert health.admits("b", now + 120.0)
    health.worked("b")
    assert (health.condition("b", 0.0).why, health.admits("b", 0.0)) == ("", True)
