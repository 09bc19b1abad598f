"""Rows of calls added up by day: what pages, budgets and keys read instead of the calls one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from clawloops.model.report import Line, Month, Part, day_of, eighths_of
from clawloops.model.usage import Call, Total
from clawloops.store.db import Database, Row, rows_of

_OF = ("day", "user_id", "model", "backend_id", "key_id", "is_background", "is_free")
_SUMMED = tuple(Total.__dataclass_fields__)
_AMOUNTS = itemgetter(*_SUMMED)
_SUMS = ", ".join(f"CAST(COALESCE(sum({name}), 0) AS BIGINT) AS {name}" for name in _SUMMED)


async def add(db: Database, calls: Iterable[Call]) -> None:
    """In the caller's transaction: a few calls that are in `usage` for the first time."""
    sums, box_days, months = _sums(), _sums(), _sums()
    words: Counter[tuple[int, str, int]] = Counter()
    for call in calls:
        day, month, tokens, is_free = day_of(call.at), Month.around(call.at).count, call.tokens, call.cost == 0
        lines = (
            sums[day, call.user_id, call.model, call.backend_id, call.key_id, call.is_background, is_free],
            box_days[day, call.model, is_free],
            months[month, call.user_id],
        )
        spent = Total(
            *(1, tokens.input, tokens.output, tokens.cached, tokens.reasoning, call.cost, call.held_ms),
            *(call.energy_mwh, 0 if 200 <= call.status < 300 else 1),
        )
        for index, name in enumerate(_SUMMED):
            for line in lines:
                line[index] += getattr(spent, name)
        if call.first_ms is not None:
            words[month, call.model, eighths_of(call.first_ms)] += 1
    await _add(db, "usage_days", _OF, sums)
    await _add(db, "usage_box_days", ("day", "model", "is_free"), box_days)
    await _add(db, "usage_months", ("month", "user_id"), months)
    if words:
        await db.execute(
            f"""INSERT INTO usage_first_words (month, model, eighths, calls) VALUES {rows_of(len(words), 4)}
            ON CONFLICT (month, model, eighths) DO UPDATE SET calls = usage_first_words.calls + excluded.calls""",
            *(value for word, count in words.items() for value in (*word, count)),
        )


async def total(db: Database, days: range, user_id: str | None) -> Total:
    """Sums over these days of one user; None: of everybody."""
    where, args = _over(days, user_id, box="usage_box_days")
    return _total((await db.fetch(f"SELECT {_SUMS} {where}", *args))[0])


async def added_up(db: Database, days: range, user_id: str | None) -> tuple[dict[int, Total], list[Part]]:
    """The same calls by day, and by model and whether they cost nothing: both of one look, so they fit each other."""
    where, args = _over(days, user_id, box="usage_box_days")
    rows = await db.fetch(
        f"""SELECT day, NULL AS model, NULL AS is_free, {_SUMS} {where} GROUP BY day
        UNION ALL SELECT NULL, model, is_free, {_SUMS} {where} GROUP BY model, is_free""",
        *args,
    )
    by_day = {row["day"]: _total(row) for row in rows if row["model"] is None}
    return by_day, [Part(row["model"], bool(row["is_free"]), _total(row)) for row in rows if row["model"] is not None]


async def by_user(db: Database, month: Month) -> dict[str, Total]:
    rows = await db.fetch("SELECT * FROM usage_months WHERE month = $1", month.count)
    return {row["user_id"]: _total(row) for row in rows}


async def by_key(db: Database, days: range, user_id: str) -> dict[str, Total]:
    """Calls of a runtime's own are left out."""
    where, args = _over(days, user_id)
    rows = await db.fetch(f"SELECT key_id, {_SUMS} {where} AND key_id <> '' GROUP BY key_id", *args)
    return {row["key_id"]: _total(row) for row in rows}


async def answered(db: Database) -> frozenset[str]:
    """The models (public names) of which a call has ever had an answer."""
    return frozenset(
        row["model"] for row in await db.fetch("SELECT DISTINCT model FROM usage_days WHERE calls > failed")
    )


async def first_words(db: Database, month: Month) -> dict[str, dict[int, int]]:
    """By model: how many calls of everybody had their first word within so many eighths of an octave."""
    rows = await db.fetch("SELECT model, eighths, calls FROM usage_first_words WHERE month = $1", month.count)
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for row in rows:
        found[row["model"]][row["eighths"]] = row["calls"]
    return found


async def lines(db: Database, days: range, user_id: str | None) -> list[Line]:
    """In the order of days, members and models."""
    where, args = _over(days, user_id)
    rows = await db.fetch(
        f"SELECT day, user_id, model, {_SUMS} {where} GROUP BY day, user_id, model ORDER BY day, user_id, model", *args
    )
    return [Line(row["day"], row["user_id"], row["model"], _total(row)) for row in rows]


Sums = defaultdict[tuple[Any, ...], list[int]]


def _sums() -> Sums:
    return defaultdict(lambda: [0] * len(_SUMMED))


async def _add(db: Database, table: str, of: Sequence[str], sums: Sums) -> None:
    """To the rows of a table, which are told apart by the columns `of`."""
    if not sums:
        return
    columns = (*of, *_SUMMED)
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _SUMMED)
    await db.execute(
        f"""INSERT INTO {table} ({", ".join(columns)}) VALUES {rows_of(len(sums), len(columns))}
        ON CONFLICT ({", ".join(of)}) DO UPDATE SET {added}""",
        *(value for key, line in sums.items() for value in (*key, *line)),
    )


def _over(days: range, user_id: str | None, *, box: str = "usage_days") -> tuple[str, tuple[Any, ...]]:
    """`box`: the table that holds everybody's."""
    if user_id is None:
        return f"FROM {box} WHERE day >= $1 AND day < $2", (days.start, days.stop)
    return "FROM usage_days WHERE day >= $1 AND day < $2 AND user_id = $3", (days.start, days.stop, user_id)


def _total(row: Row) -> Total:
    return Total(*_AMOUNTS(row))
