"""Budgets: nobody gets more than there is, whoever comes at once, and whoever is cut is told in their own dialect."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawloops.clock import now_ms
from clawloops.gateway.budgets import Budgets, Exhausted, Hold, Payer, Use
from clawloops.model.budget import Budget, Measure, Scope, Span
from clawloops.model.provider import Route, Target
from clawloops.model.usage import Call, Price, Tokens
from tests.gateway.gate import TOKEN, Gateway
from tests.upstream import Script

DAY = 86_400_000
NOW = 20_000 * DAY + 1000


def budget_of(
    amount: int,
    measure: Measure = Measure.TOKENS,
    *,
    scope: Scope = Scope.EACH,
    subject: str = "",
    span: Span = Span.DAY,
    is_background: bool = False,
) -> Budget:
    return Budget(f"l-{scope}-{measure}-{span}", scope, subject, measure, span, amount, is_background, 0)


def limit(gateway: Gateway, *budgets: Budget, **groups: frozenset[str]) -> None:
    gateway.budgets.set(budgets, groups, {}, now=now_ms())


async def statuses(gateway: Gateway, count: int, model: str = "small", **fields: Any) -> Counter[int]:
    async def one() -> int:
        async with await gateway.post(model, **fields) as answer:
            await answer.read()
            return answer.status

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


@pytest.mark.attacks(17)
async def test_of_a_hundred_calls_at_once_as_many_go_through_as_the_budget_has(gateway: Gateway) -> None:
    gateway.serve_model("small")
    limit(gateway, budget_of(7, Measure.REQUESTS))
    assert await statuses(gateway, 100) == {200: 7, 429: 93}
    assert len(gateway.upstream.seen) == len(gateway.settled) == 7


@pytest.mark.attacks(17)
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_hundred_calls_at_once_use_no_more_tokens_than_there_are(gateway: Gateway, *, streamed: bool) -> None:
    gateway.serve_model("small")
    await (await gateway.post("small", max_tokens=5)).read()  # from now on its input can be estimated
    limit(gateway, budget_of(100))
    assert (await statuses(gateway, 100, stream=streamed, max_tokens=5))[200] > 2
    used = sum(call.tokens.input + call.tokens.output for call in gateway.settled[1:])
    assert 48 <= used <= 100


async def test_a_whole_answer_is_asked_for_no_longer_than_there_is_left(gateway: Gateway) -> None:
    gateway.serve_model("small")
    limit(gateway, budget_of(1000))
    await (await gateway.post("small")).read()
    await (await gateway.post("small", max_tokens=2)).read()
    await (await gateway.post("small", path="/v1/messages", max_tokens=100_000)).read()
    first, second, third = (each.body for each in gateway.upstream.seen)
    assert 900 < first["max_completion_tokens"] < 1000
    assert second["max_tokens"] == 2 and "max_completion_tokens" not in second
    assert 900 < third["max_tokens"] < 1000


@pytest.mark.attacks(17)
@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/v1/chat/completions", b'data: {"error":{"message":"The budget that each member has (80 tokens a day)'),
        ("/v1/messages", b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"The '),
        ("/v1/responses", b'event: error\ndata: {"type":"error","code":"budget_exhausted","message":"The budget'),
        ("/api/chat", b'{"error":"The budget that each member has (80 tokens a day) is used up'),
    ],
)
async def test_a_stream_that_outgrows_its_budget_is_cut_with_a_word_in_its_dialect(
    gateway: Gateway, path: str, last: bytes
) -> None:
    kind: Any = {"kind": "ollama"} if path == "/api/chat" else {}
    gateway.serve_model("long-500", **kind)
    gateway.upstream.scripts["long-500"] = Script(words=["word "] * 500, gap_s=0.001)
    limit(gateway, budget_of(80))
    fields = {"input": "Hello"} if path == "/v1/responses" else {}
    body = {"model": "long-500", "messages": [{"role": "user", "content": "Hello"}], "stream": True, **fields}
    if path == "/v1/responses":
        del body["messages"]
    async with gateway.session.post(gateway.url + path, json=body) as answer:
        got = await answer.read()
        assert answer.status == 200
    assert last in got.replace(b"\n\n", b"\n")[-500:]
    assert b"[DONE]" not in got and b"message_stop" not in got
    (call,) = gateway.settled
    assert call.status == 429
    assert call.tokens.output < 80
    async with asyncio.timeout(2):
        while gateway.upstream.seen[0].ended_at is None:
            await asyncio.sleep(0.01)
    gateway.serve_model("small")
    limit(gateway, budget_of(1))
    async with await gateway.post("small") as answer:
        assert answer.status == 429
        assert answer.headers["X-Should-Retry"] == "false"
        assert "Retry-After" not in answer.headers


async def test_anthropics_own_client_shows_the_message(gateway: Gateway) -> None:
    gateway.serve_model("small")
    limit(gateway, budget_of(1, Measure.REQUESTS))
    client = anthropic.AsyncAnthropic(api_key=TOKEN, base_url=gateway.url)
    asked: Any = {"model": "small", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    await client.messages.create(**asked)
    with pytest.raises(anthropic.RateLimitError, match=r"1 call a day.*used up.*Ask your admin"):
        await client.messages.create(**asked)
    assert len(gateway.upstream.seen) == 1
    await client.close()


async def test_gpu_time_that_runs_out_ends_a_call_that_has_said_nothing_yet(gateway: Gateway) -> None:
    gateway.upstream.scripts["mute"] = Script(stepwise=True)
    gateway.serve_model("mute", slots=1)
    limit(gateway, budget_of(500, Measure.GPU_MS))
    async with await gateway.post("mute", stream=True) as answer:
        got = await answer.read()
    assert b"1 s of GPU time" in got or b"0 s of GPU time" in got
    assert gateway.settled[0].held_ms >= 500


async def test_gpu_time_ends_a_whole_answer_that_has_not_begun(gateway: Gateway) -> None:
    gateway.serve_model("hang", slots=1)
    limit(gateway, budget_of(500, Measure.GPU_MS))
    async with await gateway.post("hang") as answer:
        assert answer.status == 429
        assert "GPU time" in (await answer.json())["error"]["message"]
    (call,) = gateway.settled
    assert call.held_ms >= 500 and call.tokens.input > 0
    assert gateway.queue.all() == []


async def test_one_call_sets_no_more_aside_than_the_longest_answer_that_its_model_gives(gateway: Gateway) -> None:
    gateway.serve_model("hang")
    gateway.serve_model("small")
    limit(gateway, budget_of(100_000, scope=Scope.BOX))
    asking = asyncio.create_task(gateway.post("hang", max_tokens=10**9))
    while not gateway.upstream.seen:
        await asyncio.sleep(0.01)
    assert gateway.upstream.seen[0].body["max_tokens"] == 8192
    assert await statuses(gateway, 1, max_tokens=5) == {200: 1}
    asking.cancel()


async def test_what_a_budget_refuses_is_no_circle(gateway: Gateway) -> None:
    gateway.serve_model("small")
    gateway.attended.clear()
    limit(gateway, budget_of(1, Measure.REQUESTS))
    assert await statuses(gateway, 30) == {200: 1, 429: 29}
    assert gateway.held == []


def test_a_sum_of_a_span_that_is_over_does_not_fill_the_next_one() -> None:
    budgets = Budgets(on_near=lambda budget, user_id: None)
    minute = budget_of(100, span=Span.MINUTE)
    budgets.set([minute], {}, {}, now=NOW)
    payer = Payer("u", "", "m", is_background=False)
    end = minute.span.around(NOW)[1]
    set_aside(budgets, payer, Use(tokens=1), Use(tokens=1), now=end + 5)
    budgets.set([minute], {}, {(minute.id, "u"): 100}, now=end - 5)
    assert budgets.levels(end + 6)[0].used == 0


async def test_money_is_counted_at_the_price_of_the_place(gateway: Gateway) -> None:
    gateway.serve_model("small")
    (route,) = gateway.directory.routes()
    price = Price(input=3_000_000, output=15_000_000, cached=300_000)
    target = route.targets[0]
    gateway.directory.set_routes(
        [Route(route.model, (Target(target.backend, target.upstream, target.credentials, price),))]
    )
    limit(gateway, budget_of(200, Measure.COST))
    assert (await statuses(gateway, 1, max_tokens=5))[200] == 1
    cost = 7 * 3 + 1.2 + 5 * 15  # 11 tokens of input, 4 of them from a cache, and 5 of output
    assert gateway.settled[0].cost == round(cost + 0.5)
    assert (await statuses(gateway, 5, max_tokens=5))[200] == 1
    assert gateway.near[0][1] == "u-ada"


async def test_a_budget_for_background_work_leaves_people_alone(gateway: Gateway) -> None:
    gateway.serve_model("small")
    gateway.attended.clear()
    limit(gateway, budget_of(1, Measure.REQUESTS, is_background=True))
    assert await statuses(gateway, 3) == {200: 1, 429: 2}
    gateway.attended.add("r-ada")
    assert await statuses(gateway, 3) == {200: 3}
    assert [call.is_background for call in gateway.settled] == [True, False, False, False]


async def test_a_caller_who_leaves_gives_back_what_was_set_aside(gateway: Gateway) -> None:
    gateway.serve_model("hang")
    limit(gateway, budget_of(1000))
    asking = asyncio.create_task(gateway.post("hang"))
    while not gateway.upstream.seen:
        await asyncio.sleep(0.01)
    with pytest.raises(aiohttp.ClientResponseError):
        async with await gateway.post("hang") as refused:
            assert refused.headers["Retry-After"] == "1"
            assert "set aside" in (await refused.json())["error"]["message"]
            refused.raise_for_status()
    asking.cancel()
    async with asyncio.timeout(2):
        while not gateway.settled:
            await asyncio.sleep(0.01)
    assert await statuses(gateway, 1, "small") == {403: 1}
    gateway.serve_model("small")
    assert await statuses(gateway, 1, "small", max_tokens=5) == {200: 1}


def set_aside(budgets: Budgets, payer: Payer, least: Use, most: Use, *, now: int) -> Hold:
    """As a call does at its admission."""
    hold = budgets.open(payer, now=now)
    hold.set_aside(least, most)
    return hold


def _settled(id_: str, amount: int, *, at: int = NOW) -> Call:
    return Call(id_, at, "u", "r", "m", "b", Tokens(amount), 200, 1, 2)


def test_scopes_count_whom_they_name() -> None:
    budgets = Budgets(on_near=lambda budget, user_id: None)
    budgets.set(
        [
            budget_of(10, scope=Scope.BOX), budget_of(10, scope=Scope.EACH),
            budget_of(10, scope=Scope.MEMBER, subject="u"),
            budget_of(10, scope=Scope.GROUP, subject="g"), budget_of(10, scope=Scope.KEY, subject="k"),
            budget_of(10, scope=Scope.MODEL, subject="m"),
        ],
        {"g": frozenset("uv")},
        {},
        now=NOW,
    )  # fmt: skip
    budgets.settled(_settled("1", 3), Payer("u", "k", "m", is_background=False))
    budgets.settled(_settled("2", 4), Payer("v", "", "n", is_background=False))
    used = {(level.budget.scope, level.user_id): level.used for level in budgets.levels(NOW)}
    assert used == {
        (Scope.BOX, ""): 7, (Scope.EACH, "u"): 3, (Scope.EACH, "v"): 4, (Scope.MEMBER, ""): 3, (Scope.GROUP, ""): 7,
        (Scope.KEY, ""): 3, (Scope.MODEL, ""): 3,
    }  # fmt: skip
    assert [(each.budget.scope, each.used) for each in budgets.levels_of("v", NOW)] == [
        (Scope.EACH, 4),
        (Scope.GROUP, 7),
    ]


def test_a_span_that_is_over_begins_anew_without_the_calls_from_before() -> None:
    near: list[str] = []
    budgets = Budgets(on_near=lambda budget, user_id: near.append(user_id))
    budgets.set([budget_of(10)], {}, {}, now=NOW)
    payer = Payer("u", "", "m", is_background=False)
    hold = set_aside(budgets, payer, Use(tokens=4), Use(tokens=9), now=NOW)
    with pytest.raises(Exhausted) as refused:
        set_aside(budgets, payer, Use(tokens=4), Use(tokens=4), now=NOW)
    assert refused.value.is_passing and refused.value.resets_at == 20_001 * DAY
    tomorrow = set_aside(budgets, payer, Use(tokens=9), Use(tokens=9), now=NOW + DAY)
    hold.grow(Use(tokens=500))
    hold.end()
    budgets.settled(_settled("1", 9), payer)
    assert (budgets.levels(NOW + DAY)[0].used, near) == (0, [])
    tomorrow.end()
    budgets.settled(_settled("2", 8, at=NOW + DAY), payer)
    budgets.settled(_settled("3", 1, at=NOW + DAY), payer)
    assert (budgets.levels(NOW + DAY)[0].used, near) == (9, ["u"])


def test_what_is_settled_while_the_store_is_summed_counts_once() -> None:
    budgets = Budgets(on_near=lambda budget, user_id: None)
    payer = Payer("u", "", "m", is_background=False)
    budgets.record()
    budgets.settled(_settled("1", 3), payer)
    budgets.settled(_settled("2", 4), payer)
    budgets.set([budget_of(100)], {}, {(budget_of(100).id, "u"): 53}, now=NOW, summed=frozenset("1"))
    assert budgets.levels(NOW)[0].used == 57


@given(
    amount=st.integers(1, 60),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(0, 20)), max_size=60),
)
def test_no_order_of_calls_has_more_set_aside_and_used_than_there_is(
    amount: int, steps: list[tuple[int, int, int]]
) -> None:
    """Each call uses no more than it has set aside, as a call that is cut in time does."""
    budgets = Budgets(on_near=lambda budget, user_id: None)
    budgets.set([budget_of(amount)], {}, {}, now=NOW)
    payer = Payer("u", "", "m", is_background=False)
    open_: dict[int, tuple[Hold, int]] = {}
    used = 0
    for number, (slot, least, most) in enumerate(steps):
        if slot not in open_:
            try:
                hold = set_aside(budgets, payer, Use(tokens=least), Use(tokens=max(least, most)), now=NOW)
            except Exhausted:
                continue
            open_[slot] = hold, hold.room(Measure.TOKENS) or 0
        elif most > 10:
            hold, room = open_[slot]
            try:
                hold.grow(Use(tokens=room + least))
            except Exhausted:
                pass
            else:
                open_[slot] = hold, room + least
        else:
            hold, room = open_.pop(slot)
            hold.end()
            used += room
            budgets.settled(_settled(str(number), room), payer)
        assert used + sum(room for _, room in open_.values()) <= amount
    assert sum(level.used for level in budgets.levels(NOW)) == used
