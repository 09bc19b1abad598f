"""Oneself: who the token's owner is, the models that they may use, and what they have used."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from clawloops.clock import now_ms
from clawloops.gateway.budgets import Level
from clawloops.model.account import Role
from clawloops.model.budget import Measure, Scope, Span
from clawloops.model.token import TokenScope
from clawloops.model.usage import Total
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Instant, Shown, at
from clawloops.web.context import BUDGETS, FACTORS, LEDGER, MODELS

Amount = Annotated[int, Meta(description="tokens, calls, µUSD (cost) or milliseconds (gpu_ms), as measure says")]


class OwnToken(Shown, frozen=True):
    """The token of this call."""

    id: str
    name: str
    scopes: list[TokenScope]
    ends_at: Instant


class Me(Shown, frozen=True):
    id: str
    login: str
    name: str
    role: Role
    joined_at: Instant
    has_second_factor: bool
    token: OwnToken


class UsableModel(Shown, frozen=True):
    """A model by its public name: what `model` is in a call to the gateway."""

    name: str
    context_window: int
    max_tokens: int
    is_default: bool


class Used(Shown, frozen=True):
    """Sums over model calls. Costs are µUSD, energy thousandths of a watt-hour."""

    calls: int
    failed: int
    """Of these: refused, without an answer, or left by their caller."""
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_micro_usd: int
    gpu_ms: int
    energy_mwh: int


class Usage(Shown, frozen=True):
    """This month (of UTC) so far."""

    since: Instant
    used: Used


class BudgetLevel(Shown, frozen=True):
    """How much of a budget is used now."""

    budget_id: str
    scope: Scope
    measure: Measure
    span: Span
    is_background: bool
    amount: Amount
    used: Amount
    resets_at: Instant
    member_id: str | None
    """Of a budget that each member has: whose this one is."""


async def show(call: Call) -> Me:
    """Open to every token with me:read; the simplest call to try one with."""
    user, token = call.user, call.token
    return Me(
        id=user.id,
        login=user.login,
        name=user.name,
        role=user.role,
        joined_at=at(user.created_at),
        has_second_factor=call.app[FACTORS].is_held_by(user.id),
        token=OwnToken(id=token.id, name=token.name, scopes=sorted(token.scopes), ends_at=at(token.expires_at)),
    )


async def list_models(call: Call, query: Paged) -> Listed[UsableModel]:
    """By name."""
    return page_of(
        call.app[MODELS].names_for(call.user),
        query,
        key=lambda each: (0, each.name),
        show=lambda each: UsableModel(
            name=each.name,
            context_window=each.context_window,
            max_tokens=each.max_tokens,
            is_default=each.is_default,
        ),
    )


async def show_usage(call: Call) -> Usage:
    total = await call.app[LEDGER].total_of(call.user.id)
    return Usage(since=at(Span.MONTH.around(now_ms())[0]), used=used(total))


async def list_levels(call: Call, query: Paged) -> Listed[BudgetLevel]:
    """Every budget that your calls count for."""
    levels = call.app[BUDGETS].levels_of(call.user)
    return page_of(levels, query, key=level_key, show=level)


def used(total: Total) -> Used:
    return Used(
        calls=total.calls,
        failed=total.failed,
        input_tokens=total.input,
        output_tokens=total.output,
        cached_tokens=total.cached,
        reasoning_tokens=total.reasoning,
        cost_micro_usd=total.cost,
        gpu_ms=total.held_ms,
        energy_mwh=total.energy_mwh,
    )


def level_key(each: Level) -> tuple[int, str]:
    return each.budget.created_at, f"{each.budget.id} {each.user_id}"


def level(each: Level) -> BudgetLevel:
    budget = each.budget
    return BudgetLevel(
        budget_id=budget.id,
        scope=budget.scope,
        measure=budget.measure,
        span=budget.span,
        is_background=budget.is_background,
        amount=budget.amount,
        used=each.used,
        resets_at=at(each.resets_at),
        member_id=each.user_id or None,
    )
