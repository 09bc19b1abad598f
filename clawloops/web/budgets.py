"""Budgets: whose, of what, how much of it is used; set, changed and removed by admins."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from clawloops.errors import BadInput
from clawloops.gateway.budgets import Level
from clawloops.model.budget import Budget, Measure, Scope, Span
from clawloops.web.context import ACCOUNTS, BUDGETS, GROUPS, KEYS, MODELS, SENT, USER
from clawloops.web.fields import decimal, plain
from clawloops.web.pages import render

MEASURES = {
    Measure.TOKENS: "tokens",
    Measure.COST: "dollars",
    Measure.REQUESTS: "calls",
    Measure.GPU_MS: "seconds of GPU time",
}
_UNIT = {Measure.TOKENS: 1, Measure.COST: 1_000_000, Measure.REQUESTS: 1, Measure.GPU_MS: 1000}


@dataclass(frozen=True, slots=True)
class Line:
    """One budget on the page."""

    budget: Budget
    whom: str
    amount: str  # in the unit that people use
    unit: str
    levels: list[tuple[str, Level]]  # each with whose it is, "" where there is one for all


async def show(request: web.Request) -> web.Response:
    app = request.app
    budgets = await app[BUDGETS].all()
    whom = await _subjects(request)
    people = {each.id: each.name for each in app[ACCOUNTS].members()}
    levels = app[BUDGETS].levels()
    lines = [
        Line(
            budget=each,
            whom=whom[_value(each.scope, each.subject)],
            amount=plain(each.amount, _UNIT[each.measure]),
            unit=MEASURES[each.measure],
            levels=sorted(
                ((people.get(level.user_id, ""), level) for level in levels if level.budget.id == each.id),
                key=lambda pair: -pair[1].used,
            ),
        )
        for each in budgets
        if _value(each.scope, each.subject) in whom  # it was removed this very moment
    ]
    return render(
        request,
        "budgets.html",
        lines=lines,
        whom=whom,
        measures=MEASURES,
        spans={each.value: each.value for each in Span},
    )


async def add(request: web.Request) -> web.Response:
    sent = request[SENT]
    scope, _, subject = sent.get("whom", "").partition(":")
    try:
        measure, span, kind = Measure(sent.get("measure", "")), Span(sent.get("span", "")), Scope(scope)
    except ValueError:
        raise BadInput("Choose from each of the lists.", field="amount") from None
    await request.app[BUDGETS].add(
        kind,
        subject,
        measure,
        span,
        _amount(sent.get("amount", ""), measure),
        is_background="background" in sent,
        by=request[USER],
    )
    raise web.HTTPSeeOther("/budgets")


async def change(request: web.Request) -> web.Response:
    budget_id, sent = request.match_info["id"], request[SENT]
    known = {each.id: each for each in await request.app[BUDGETS].all()}
    measure = known[budget_id].measure if budget_id in known else Measure.TOKENS  # one that is gone is refused below
    await request.app[BUDGETS].change(budget_id, _amount(sent.get("amount", ""), measure), by=request[USER])
    raise web.HTTPSeeOther(f"/budgets#{budget_id}")


async def remove(request: web.Request) -> web.Response:
    await request.app[BUDGETS].remove(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/budgets")


def _amount(text: str, measure: Measure) -> int:
    return decimal(text, "amount", scale=_UNIT[measure], refusal=f"Give a number of {MEASURES[measure]} above 0.")


def _value(scope: Scope, subject: str) -> str:
    return f"{scope}:{subject}" if subject else scope.value


async def _subjects(request: web.Request) -> dict[str, str]:
    """Whom and what a budget can be for: what the form sends, and how people read it."""
    app = request.app
    people = {each.id: each.name for each in app[ACCOUNTS].members()}
    return {
        "each": "Each member, for themself",
        "box": "Everybody together",
        **{f"group:{each.id}": f"Group {each.name}, together" for each in await app[GROUPS].all()},
        **{f"member:{id_}": name for id_, name in people.items()},
        **{f"model:{each.id}": f"Model {each.name}" for each in app[MODELS].names()},
        **{f"key:{each.id}": f"Key {each.name} of {people[each.user_id]}" for each in await app[KEYS].all()},
    }
