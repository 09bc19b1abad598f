"""Budgets: whose, of what, in which span, and how much is used of each."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from clawloops.control.budgets import MOST_AMOUNT
from clawloops.errors import NotFound
from clawloops.model.budget import Budget as KeptBudget
from clawloops.model.budget import Measure, Scope, Span
from clawloops.web.api.me import BudgetLevel, level, level_key
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Given, Id, Instant, Shown, at
from clawloops.web.context import BUDGETS

Amount = Annotated[
    int, Meta(ge=1, le=MOST_AMOUNT, description="tokens, calls, µUSD (cost) or milliseconds (gpu_ms), as measure says")
]


class Budget(Shown, frozen=True):
    id: str
    scope: Scope
    subject: str
    """Id of the member, group, key or model; "" of the box and of each member."""
    measure: Measure
    span: Span
    amount: Amount
    is_background: bool
    """Whether it counts and holds only what workspaces do with nobody at them."""
    made_at: Instant


class NewBudget(Given, frozen=True):
    scope: Scope
    measure: Measure
    span: Span
    amount: Amount
    subject: Id | None = None
    is_background: bool = False


class NewAmount(Given, frozen=True):
    amount: Amount


async def list_all(call: Call, query: Paged) -> Listed[Budget]:
    """Oldest first."""
    return page_of(await call.app[BUDGETS].all(), query, key=lambda each: (each.created_at, each.id), show=_budget)


async def list_levels(call: Call, query: Paged) -> Listed[BudgetLevel]:
    """How much is used of each now; of one that each member has, member by member."""
    return page_of(call.app[BUDGETS].levels(), query, key=level_key, show=level)


async def add(call: Call, body: NewBudget) -> Budget:
    """It counts from the beginning of the span that it is in."""
    made = await call.app[BUDGETS].add(
        body.scope,
        body.subject or "",
        body.measure,
        body.span,
        body.amount,
        is_background=body.is_background,
        by=call.user,
    )
    return _budget(made)


async def show(call: Call, id: Id) -> Budget:
    found = next((each for each in await call.app[BUDGETS].all() if each.id == id), None)
    if found is None:
        raise NotFound("There is no such budget (any more).")
    return _budget(found)


async def change(call: Call, id: Id, body: NewAmount) -> Budget:
    await call.app[BUDGETS].change(id, body.amount, by=call.user)
    return await show(call, id)


async def remove(call: Call, id: Id) -> None:
    await call.app[BUDGETS].remove(id, by=call.user)


def _budget(budget: KeptBudget) -> Budget:
    return Budget(
        id=budget.id,
        scope=budget.scope,
        subject=budget.subject,
        measure=budget.measure,
        span=budget.span,
        amount=budget.amount,
        is_background=budget.is_background,
        made_at=at(budget.created_at),
    )
