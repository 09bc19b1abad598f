"""Rows of budgets. One goes with the member, group, key or model that it is for."""

from __future__ import annotations

from clawloops.model.budget import Budget, Measure, Scope, Span
from clawloops.store.db import Database, Row

_SUBJECTS = {Scope.MEMBER: "user_id", Scope.GROUP: "group_id", Scope.KEY: "key_id", Scope.MODEL: "model_id"}
_COLUMNS = "id, scope, user_id, group_id, key_id, model_id, measure, span, amount, is_background, created_at"


def _budget(row: Row) -> Budget:
    return Budget(
        id=row["id"],
        scope=Scope(row["scope"]),
        subject=next((row[each] for each in _SUBJECTS.values() if row[each]), ""),
        measure=Measure(row["measure"]),
        span=Span(row["span"]),
        amount=row["amount"],
        is_background=bool(row["is_background"]),
        created_at=row["created_at"],
    )


async def add(db: Database, budget: Budget) -> None:
    """Raises Conflict when whom it is for is gone."""
    subjects = [budget.subject if _SUBJECTS.get(budget.scope) == each else None for each in _SUBJECTS.values()]
    await db.execute(
        f"INSERT INTO budgets ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        *(budget.id, budget.scope.value, *subjects, budget.measure.value, budget.span.value, budget.amount),
        *(budget.is_background, budget.created_at),
    )


async def all(db: Database) -> list[Budget]:
    """Oldest first."""
    return [_budget(row) for row in await db.fetch(f"SELECT {_COLUMNS} FROM budgets ORDER BY created_at, id")]


async def set_amount(db: Database, budget_id: str, amount: int) -> bool:
    """Whether there is such a one."""
    return bool(await db.execute("UPDATE budgets SET amount = $1 WHERE id = $2", amount, budget_id))


async def delete(db: Database, budget_id: str) -> bool:
    """Whether there was such a one."""
    return bool(await db.execute("DELETE FROM budgets WHERE id = $1", budget_id))
