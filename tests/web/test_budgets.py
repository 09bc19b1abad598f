"""The pages of budgets and prices, and the one click that resumes a workspace's background work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.clock import now_ms
from clawloops.errors import BadInput
from clawloops.gateway.budgets import Payer
from clawloops.model.account import Role
from clawloops.model.budget import Measure, Scope, Span
from clawloops.model.provider import Backend, BackendKind, Grants, Model, Place
from clawloops.model.usage import Price, Tokens
from clawloops.store import backends, models
from clawloops.web.fields import decimal, plain
from tests.store import rows
from tests.web.box import Box


@pytest.fixture
async def admin(box: Box) -> str:
    session, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    await backends.add(box.db, Backend("b0", "Lab", BackendKind.OPENAI, "http://lab.test/v1", "", 1))
    await models.add(box.db, Model("m0", "small", (Place("b0", "small-2"),), 32_768, 4096, True, 1))
    await box.models.load()
    return session


async def test_a_budget_is_set_shown_with_its_level_changed_and_removed(box: Box, admin: str) -> None:
    mia = await box.member("mia")
    made = await box.send("/budgets", admin, whom="each", amount="12.50", measure="cost", span="month", background="on")
    assert made.status == 303, await made.text()
    (budget,) = await box.budgets.all()
    assert (budget.scope, budget.measure, budget.span, budget.amount, budget.is_background) == (
        Scope.EACH, Measure.COST, Span.MONTH, 12_500_000, True,
    )  # fmt: skip
    call = rows.call(at=now_ms(), user_id=mia.id, cost=11_000_000, is_background=True)
    box.budgets.gateway.settled(call, Payer(mia.id, "", "m0", is_background=True))
    page = await (await box.page("/budgets", admin)).text()
    assert "Mia: $11.00 of $12.50" in page and "nearly used up" in page and "background work only" in page
    theirs, _ = await box.signed_in(mia)
    assert "$11.00 of $12.50" in await (await box.page("/", theirs)).text()
    assert (await box.page("/budgets", theirs)).status == 403
    assert (await box.send(f"/budgets/{budget.id}", admin, amount="20", editing=budget.id)).status == 303
    assert (await box.budgets.all())[0].amount == 20_000_000
    assert (await box.send(f"/budgets/{budget.id}/remove", admin)).status == 303
    assert await box.budgets.all() == []


@pytest.mark.parametrize("amount", ["", "0", "-3", "many", "1e9", "9" * 30])
async def test_an_amount_that_is_none_is_refused_beside_its_field(box: Box, admin: str, amount: str) -> None:
    refused = await box.send("/budgets", admin, whom="box", amount=amount, measure="tokens", span="day")
    text = await refused.text()
    assert refused.status == 400
    assert "Give a number of tokens above 0." in text and f'value="{amount}"' in text
    assert await box.budgets.all() == []


async def test_choices_that_are_none_of_the_list_are_refused(box: Box, admin: str) -> None:
    for whom, measure in (("nobody", "tokens"), ("box", "apples"), ("group:gone", "tokens")):
        refused = await box.send("/budgets", admin, whom=whom, amount="5", measure=measure, span="day")
        assert refused.status == 400
    assert (await box.send("/budgets/gone", admin, amount="5")).status == 404


async def test_a_price_is_set_shown_and_given_back_to_the_table(box: Box, admin: str) -> None:
    sent = {"price-of": "b0/small-2", "input": "3", "cached": "0.30", "output": "15"}
    assert (await box.send("/models/names/m0/price", admin, **sent)).status == 303
    ((_, _, listed),) = box.models.prices_of(box.models.get("m0"))
    assert (listed.price, listed.is_own) == (Price(3_000_000, 15_000_000, 300_000), True)
    assert box.directory.routes()[0].targets[0].price.cost(Tokens(1000, 100, 500)) == 3150
    page = await (await box.page("/models/names/m0", admin)).text()
    assert 'value="0.3"' in page and "your price" in page
    refused = await box.send("/models/names/m0/price", admin, **{**sent, "output": "dear"})
    assert refused.status == 400
    assert "Give dollars for a million tokens" in await refused.text()
    assert (await box.send("/models/names/m0/price", admin, **{"price-of": "b0/small-2"})).status == 303
    assert box.directory.routes()[0].targets[0].price == Price()
    assert (await box.send("/models/names/m0/price", admin, **{"price-of": "b0/gone"})).status == 404


async def test_held_background_work_is_shown_and_resumed_with_one_click(box: Box, admin: str) -> None:
    mia = await box.member("mia")
    runtime = await box.workspace(mia)
    theirs, _ = await box.signed_in(mia)
    box.burn.circles.hold(runtime.id, "the same call came 10 times within 10 minutes")
    for path, who in (("/", theirs), ("/workspace", theirs), (f"/box/workspaces/{runtime.id}", admin)):
        page = await (await box.page(path, who)).text()
        assert "is held, because the same call came 10 times" in page and "Resume background work" in page
    assert "background work held" in await (await box.page("/box", admin)).text()
    others, _ = await box.signed_in(await box.member("linus"))
    assert (await box.send(f"/box/workspaces/{runtime.id}/resume", others)).status == 403
    assert box.burn.why(runtime.id)
    assert (await box.send("/workspace/resume", theirs)).status == 303
    assert box.burn.why(runtime.id) == ""
    assert "is held" not in await (await box.page("/", theirs)).text()


async def test_a_refused_price_leaves_the_form_above_it_as_it_was(box: Box, admin: str) -> None:
    mia = await box.member("mia")
    await box.models.change(
        replace(box.models.get("m0"), is_open=False), Grants(frozenset({mia.id})), by=box.accounts.members()[0]
    )
    refused = await box.send("/models/names/m0/price", admin, **{"price-of": "b0/small-2", "input": "dear"})
    page = await refused.text()
    assert refused.status == 400
    assert page.count("Give dollars for a million tokens") == 1
    assert 'value="small-2"' in page and 'value="32768"' in page
    assert 'value="some" checked' in page and f'value="{mia.id}" checked' in page


async def test_a_price_with_a_gap_is_no_price_and_a_cache_costs_what_input_does(box: Box, admin: str) -> None:
    for given in ({"input": "3"}, {"output": "15"}, {"cached": "1"}):
        sent = {"price-of": "b0/small-2", **given}
        assert (await box.send("/models/names/m0/price", admin, **sent)).status == 400
    sent = {"price-of": "b0/small-2", "input": "3", "output": "15"}
    assert (await box.send("/models/names/m0/price", admin, **sent)).status == 303
    assert box.directory.routes()[0].targets[0].price == Price(3_000_000, 15_000_000, 3_000_000)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1", 1_000_000), ("12.50", 12_500_000), ("1,000", 10**9), ("1,000,000.5", 10**12 + 500_000), ("0.000001", 1)],
)
def test_amounts_are_read_as_people_write_them(text: str, amount: int) -> None:
    assert decimal(text, "amount", scale=1_000_000, refusal="no") == amount
    assert decimal(plain(amount, 1_000_000), "amount", scale=1_000_000, refusal="no") == amount


@pytest.mark.parametrize("text", ["0,25", "12,50", ",5", "1,0000", "1.000.000", ".5", "5.", "0", "0.0000001", "\u0661"])
def test_what_could_mean_something_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        decimal(text, "amount", scale=1_000_000, refusal="no")
