"""Rows of settled model calls. A call counts once, however often its journal is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawloops.model.budget import Budget, Measure, Scope, Span
from clawloops.model.report import day_of
from clawloops.model.usage import Call, Pace
from clawloops.store import meta, usage_days
from clawloops.store.db import Database, rows_of

_COLUMNS = (
    "id, at, user_id, runtime_id, model, backend_id, input_tokens, output_tokens, cached_tokens, reasoning_tokens, "
    "status, first_ms, total_ms, key_id, queue_ms, held_ms, cost, energy_mwh, images, is_background"
)
_WIDTH = 20
_CHUNK = 64  # rows of one INSERT; 1280 values, where SQLite takes 32766 and PostgreSQL 65535
_PIECEMEAL_MS = 50  # an answer that took no longer from its first byte to its last came whole
_OF_CALLS = {
    Measure.TOKENS: "sum(input_tokens + output_tokens)",
    Measure.COST: "sum(cost)",
    Measure.REQUESTS: "count(*)",
    Measure.GPU_MS: "sum(held_ms)",
}
_OF_DAYS = {
    Measure.TOKENS: "sum(input + output)",
    Measure.COST: "sum(cost)",
    Measure.REQUESTS: "sum(calls)",
    Measure.GPU_MS: "sum(held_ms)",
}


def _values(call: Call) -> list[Any]:
    tokens = call.tokens
    return [
        *(call.id, call.at, call.user_id, call.runtime_id, call.model, call.backend_id),
        *(tokens.input, tokens.output, tokens.cached, tokens.reasoning),
        *(call.status, call.first_ms, call.total_ms, call.key_id, call.queue_ms, call.held_ms),
        *(call.cost, call.energy_mwh, call.images, call.is_background),
    ]


def _key(log: str) -> str:
    return f"journal:{log}"


async def settle(db: Database, calls: Sequence[Call], *, log: str, offset: int) -> None:
    """Add the calls that are not in yet, and note how far (bytes) the journal `log` has been read: both or neither."""
    async with db.transaction():
        for start in range(0, len(calls), _CHUNK):
            chunk = calls[start : start + _CHUNK]
            added = await db.fetch(
                f"""INSERT INTO usage ({_COLUMNS}) VALUES {rows_of(len(chunk), _WIDTH)}
                ON CONFLICT (id) DO NOTHING RETURNING id""",
                *(value for call in chunk for value in _values(call)),
            )
            new = {row["id"] for row in added}
            await usage_days.add(db, {call.id: call for call in chunk if call.id in new}.values())
        await meta.put(db, _key(log), str(offset))


async def offset(db: Database, log: str) -> int:
    """Bytes of the journal `log` that are settled; 0 for one never read."""
    return int(await meta.get(db, _key(log)) or 0)


async def paces(db: Database, since: int) -> dict[str, Pace]:
    """By backend id, over calls with an answer since then, Unix ms."""
    came = f"total_ms - first_ms >= {_PIECEMEAL_MS} AND output_tokens > 1"
    rows = await db.fetch(
        f"""SELECT backend_id, count(*) AS calls, CAST(avg(first_ms) AS BIGINT) AS first_ms,
            CAST(sum(CASE WHEN {came} THEN output_tokens ELSE 0 END) AS BIGINT) AS output,
            CAST(sum(CASE WHEN {came} THEN total_ms - first_ms ELSE 0 END) AS BIGINT) AS output_ms
        FROM usage WHERE at >= $1 AND status = 200 AND first_ms IS NOT NULL GROUP BY backend_id""",
        since,
    )
    return {row["backend_id"]: Pace(row["calls"], row["first_ms"], row["output"], row["output_ms"]) for row in rows}


async def used(db: Database, budget: Budget, now: int) -> dict[str, int]:
    """What was used of a budget in its span around `now`, Unix ms: by user id for one of each member, else under ""."""
    since, until = budget.span.around(now)
    if budget.span is Span.MINUTE:
        table, at, measures = "usage", "at", _OF_CALLS
    else:
        table, at, measures = "usage_days", "day", _OF_DAYS
        since, until = day_of(since), day_of(until)
    whose, args = _counted(budget, since, until)
    amount = f"CAST(COALESCE({measures[budget.measure]}, 0) AS BIGINT) AS amount"
    where = f"FROM {table} WHERE {at} >= $1 AND {at} < $2{whose}{' AND is_background' if budget.is_background else ''}"
    if budget.scope is not Scope.EACH:
        return {"": (await db.fetch(f"SELECT {amount} {where}", *args))[0]["amount"]}
    rows = await db.fetch(f"SELECT user_id, {amount} {where} GROUP BY user_id", *args)
    return {row["user_id"]: row["amount"] for row in rows}


def _counted(budget: Budget, since: int, until: int) -> tuple[str, tuple[Any, ...]]:
    match budget.scope:
        case Scope.BOX | Scope.EACH:
            return "", (since, until)
        case Scope.MEMBER:
            return " AND user_id = $3", (since, until, budget.subject)
        case Scope.KEY:
            return " AND key_id = $3 AND key_id <> ''", (since, until, budget.subject)
        case Scope.GROUP:
            members = "SELECT user_id FROM group_members WHERE group_id = $3"
            return f" AND user_id IN ({members})", (since, until, budget.subject)
        case Scope.MODEL:
            return " AND model = (SELECT name FROM models WHERE id = $3)", (since, until, budget.subject)


async def last_by_key(db: Database, key_ids: Sequence[str]) -> dict[str, int]:
    """When (Unix ms) each of these keys was used last; those that never were are left out."""
    found: dict[str, int] = {}
    for key_id in key_ids:  # each is one step into an index; a GROUP BY would read every call
        query = "SELECT at FROM usage WHERE key_id = $1 AND key_id <> '' ORDER BY at DESC LIMIT 1"
        row = await db.fetchrow(query, key_id)
        if row is not None:
            found[key_id] = int(row["at"])
    return found
