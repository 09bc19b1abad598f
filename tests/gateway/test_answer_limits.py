"""Limits of answers under a budget: read as backends read them, written as they heed them, and honest estimates."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
import pytest

from clawloops.clock import now_ms
from clawloops.gateway.body import rebuild
from clawloops.gateway.endpoints import ENDPOINTS
from clawloops.gateway.meter import BodyMeter
from clawloops.model.provider import Backend, BackendKind, Route, Target
from clawloops.model.usage import Opened, Tokens
from tests.gateway.gate import Gateway
from tests.gateway.test_budgets import budget_of, limit, statuses
from tests.upstream import Script


@pytest.mark.parametrize(
    ("kind", "fields", "sent"),
    [
        ("openai", {"max_tokens": 1, "max_completion_tokens": 900}, {"max_tokens": 1, "max_completion_tokens": 900}),
        ("openai", {}, {"max_completion_tokens": 8192}),
        ("ollama", {"max_completion_tokens": 500}, {"max_tokens": 500}),
        ("openai", {"max_tokens": -1}, {"max_completion_tokens": 8192}),
        ("openai", {"max_tokens": 12.0}, {"max_tokens": 12}),
        ("ollama", {}, {"max_tokens": 8192}),
        ("openai", {"max_tokens": 10, "n": 3}, {"max_tokens": 10}),
    ],
)
async def test_a_backend_is_told_the_limit_in_the_field_that_it_heeds(
    gateway: Gateway, kind: str, fields: dict[str, Any], sent: dict[str, int]
) -> None:
    served: Any = {"kind": BackendKind(kind)}
    gateway.serve_model("small", **served)
    limit(gateway, budget_of(1_000_000))
    async with await gateway.post("small", **fields) as answer:
        assert answer.status == 200
    body = gateway.upstream.seen[0].body
    assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == sent


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"max_tokens": 1, "max_completion_tokens": 900}, 900),
        ({"max_tokens": 5, "n": 4}, 20),
        ({"max_tokens": 5, "n": 4, "best_of": 6}, 30),
        ({"prompt": ["a", "b", "c"], "max_tokens": 7}, 21),
        ({"prompt": [1, 2, 3], "max_tokens": 7}, 7),
        ({"max_tokens": 10**9}, 8192),
        ({}, 8192),
    ],
)
def test_what_answers_may_have_together_is_never_underrated(fields: dict[str, Any], most: int) -> None:
    path = "/v1/chat/completions" if "max_completion_tokens" in fields else "/v1/completions"
    body = rebuild(ENDPOINTS[path], orjson.dumps({"model": "small", **fields}))
    assert body.most_output(8192) == most
    body.cap(most // 2)
    assert body.most_output(8192) <= max(most // 2, body.answers)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"max_tokens": 5.5}), ("/v1/chat/completions", {"max_tokens": "5"}),
        ("/v1/chat/completions", {"max_tokens": True}), ("/v1/chat/completions", {"n": 1000}),
        ("/v1/chat/completions", {"n": 0}), ("/v1/messages", {"max_tokens": -9}),
        ("/api/chat", {"options": {"num_predict": -3}}), ("/v1/chat/completions", {"max_completion_tokens": 2**40}),
    ],
)  # fmt: skip
async def test_a_limit_that_is_no_whole_number_is_refused_by_name(
    gateway: Gateway, path: str, fields: dict[str, Any]
) -> None:
    gateway.serve_model("small", kind=BackendKind.OLLAMA)
    async with await gateway.post("small", path=path, **fields) as answer:
        assert answer.status == 400
        assert "must be a whole number" in await answer.text()


async def test_a_backend_that_asks_to_slow_down_costs_nothing(gateway: Gateway) -> None:
    gateway.serve_model("error-429")
    gateway.serve_model("small")
    limit(gateway, budget_of(1_000_000))
    assert await statuses(gateway, 3, "error-429", user="x" * 40_000) == {429: 3}
    assert {call.tokens for call in gateway.settled} == {Tokens()}
    assert gateway.budgets.levels(now_ms())[0].used == 0


async def test_an_estimate_does_not_learn_from_itself(gateway: Gateway) -> None:
    gateway.serve_model("cut-1")
    for _ in range(20):
        async with await gateway.post("cut-1", stream=True) as answer:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
    first, *_, last = (each for each in gateway.written if isinstance(each, Opened))
    assert last.input == first.input


async def test_each_backend_of_a_name_is_told_the_limit_in_its_own_field(gateway: Gateway) -> None:
    lab = Backend("b-lab", "Lab", BackendKind.OLLAMA, "http://127.0.0.1:1", "", 1)
    gateway.serve_model("small")
    (route,) = gateway.directory.routes()
    gateway.directory.set_routes([Route(route.model, (Target(lab, "small"), *route.targets))])
    limit(gateway, budget_of(1_000_000))
    async with await gateway.post("small", max_completion_tokens=500) as answer:
        assert answer.status == 200
    body = gateway.upstream.seen[0].body
    assert body["max_completion_tokens"] == 500 and "max_tokens" not in body


async def test_thinking_fits_into_an_answer_that_is_shortened(gateway: Gateway) -> None:
    gateway.serve_model("small")
    limit(gateway, budget_of(1_000_000))
    thinking = {"type": "enabled", "budget_tokens": 10_000}
    async with await gateway.post("small", path="/v1/messages", max_tokens=16_000, thinking=thinking) as answer:
        assert answer.status == 200
    body = gateway.upstream.seen[0].body
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (8192, 8191)


async def test_what_makes_no_answer_has_no_output(gateway: Gateway) -> None:
    gateway.serve_model("small")
    gateway.upstream.scripts["small"] = Script(pieces=['{"input_tokens": 14}'], content_type="application/json")
    async with await gateway.post("small", path="/v1/messages/count_tokens") as answer:
        assert answer.status == 200
    assert gateway.settled[0].tokens == Tokens()


async def test_a_body_that_is_padded_does_not_make_the_next_one_seem_small(gateway: Gateway) -> None:
    gateway.serve_model("small")
    padded = orjson.dumps({"model": "small", "messages": []}) + b" " * 100_000
    for _ in range(100):
        async with gateway.session.post(f"{gateway.url}/v1/chat/completions", data=padded) as answer:
            assert answer.status == 200
    async with await gateway.post("small", user="x" * 40_000) as answer:
        await answer.read()
    opened = [each for each in gateway.written if isinstance(each, Opened)]
    assert opened[-1].input > 10_000


async def test_a_whole_answer_that_is_cut_is_counted_as_far_as_it_came() -> None:
    meter = BodyMeter(length=1_000_000)
    meter.feed(b'{"choices":[{"message":{"content":"' + b"word " * 1000)
    assert meter.tokens(unsaid=9) == Tokens(9, 1258)
