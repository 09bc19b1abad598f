"""Budgets: an admin sets them, the gateway keeps to them, and after a restart they go on where they were."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.ledger import Ledger
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound
from clawloops.gateway import budgets as gateway
from clawloops.gateway.budgets import Level
from clawloops.model.account import User
from clawloops.model.budget import Budget, Measure, Scope, Span
from clawloops.store import budgets, groups, usage
from clawloops.store.db import Database

MOST = 100
MOST_AMOUNT = 10**15
_FOR_SOMEBODY = (Scope.MEMBER, Scope.GROUP, Scope.KEY, Scope.MODEL)


class Budgets:
    def __init__(
        self,
        db: Database,
        audit: Audit,
        ledger: Ledger,
        *,
        keep: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`keep` runs something beside the calls."""
        self._db = db
        self._audit = audit
        self._ledger = ledger
        self._keep = keep
        self.gateway = gateway.Budgets(on_near=self._near)

    async def load(self) -> None:
        """Read them, and from the ledger what is used of each: calls go on meanwhile, and none is missed."""
        try:
            async with self._ledger.folded(self.gateway.record) as summed:
                known = await budgets.all(self._db)
                members = {each.id: each.members for each in await groups.all(self._db)}
                now, used = now_ms(), {}
                for budget in known:
                    amounts = await usage.used(self._db, budget, now)
                    used.update({(budget.id, user_id): amount for user_id, amount in amounts.items()})
                self.gateway.set(known, members, used, now=now, summed=summed)
        finally:
            self.gateway.record_no_more()

    async def all(self) -> list[Budget]:
        """Oldest first."""
        return await budgets.all(self._db)

    def levels(self) -> list[Level]:
        """How much of each is used now."""
        return self.gateway.levels(now_ms())

    def levels_of(self, user: User) -> list[Level]:
        """Those that this member's calls count for."""
        return self.gateway.levels_of(user.id, now_ms())

    async def add(
        self, scope: Scope, subject: str, measure: Measure, span: Span, amount: int, *, is_background: bool, by: User
    ) -> Budget:
        """Raises BadInput with the field that is wrong."""
        _admin(by)
        _check(amount)
        if len(await budgets.all(self._db)) >= MOST:
            raise BadInput(f"There are {MOST} budgets already. Remove one that is no longer needed.", field="amount")
        if scope in _FOR_SOMEBODY and not subject:
            raise BadInput("Choose whom or what it is for.", field="subject")
        budget = Budget(
            id="l" + secrets.token_hex(8),
            scope=scope,
            subject=subject if scope in _FOR_SOMEBODY else "",
            measure=measure,
            span=span,
            amount=amount,
            is_background=is_background,
            created_at=now_ms(),
        )
        try:
            await budgets.add(self._db, budget)
        except Conflict:
            raise BadInput("It was removed meanwhile. Reload the page.", field="subject") from None
        await self._audit.record(by.id, "budget set", budget.id, _words(budget))
        await self.load()
        return budget

    async def change(self, budget_id: str, amount: int, *, by: User) -> None:
        """Raises NotFound, and BadInput with the field that is wrong."""
        _admin(by)
        _check(amount)
        if not await budgets.set_amount(self._db, budget_id, amount):
            raise NotFound("This budget was removed already. Reload the page.")
        changed = [each for each in await budgets.all(self._db) if each.id == budget_id]
        await self._audit.record(by.id, "budget changed", budget_id, *map(_words, changed))
        await self.load()

    async def remove(self, budget_id: str, *, by: User) -> None:
        """Raises NotFound."""
        _admin(by)
        if not await budgets.delete(self._db, budget_id):
            raise NotFound("This budget was removed already. Reload the page.")
        await self._audit.record(by.id, "budget removed", budget_id)
        await self.load()

    def _near(self, budget: Budget, user_id: str) -> None:
        self._keep(self._audit.record(None, "budget nearly used up", user_id or budget.subject, _words(budget)))


def _words(budget: Budget) -> str:
    return f"{budget.scope}: {budget.in_words}{', background work' if budget.is_background else ''}"


def _check(amount: int) -> None:
    if not 1 <= amount <= MOST_AMOUNT:
        raise BadInput("Give an amount above 0.", field="amount")


def _admin(user: User) -> None:
    if not user.role.administers:
        raise Forbidden("Only an admin can set budgets.")
