"""Rows of a box that was in use for long, for benchmarks: made by the database itself, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence

from clawloops.model.report import DAY_MS, Month, day_of
from clawloops.store.db import Database

_DAYS = 90  # that the calls are spread over
_PIECE = 100_000  # calls of one statement, which has to end in time
_MODEL = "((person.number + n / 9000 % 2) % 7)"  # each has two of seven


async def calls(db: Database, people: Sequence[str], count: int, *, until: int) -> None:
    """That many calls of these users, over the days before `until` (Unix ms)."""
    await db.execute("CREATE TABLE sample_people (number BIGINT PRIMARY KEY, id TEXT NOT NULL)")
    for number, user_id in enumerate(people):
        await db.execute("INSERT INTO sample_people (number, id) VALUES ($1, $2)", number, user_id)
    for begin in range(0, count, _PIECE):
        end = min(begin + _PIECE, count)
        await db.execute(
            f"""INSERT INTO usage (id, at, user_id, runtime_id, model, backend_id, input_tokens, output_tokens,
                cached_tokens, reasoning_tokens, status, first_ms, total_ms, key_id, held_ms, cost)
            WITH RECURSIVE counted (n) AS (
                SELECT CAST({begin:d} AS BIGINT) UNION ALL SELECT n + 1 FROM counted WHERE n < {end - 1:d}
            )
            SELECT 'sample' || n, $1 - (n % {_DAYS}) * {DAY_MS}, person.id, '',
                'model-' || {_MODEL}, 'b' || {_MODEL} % 3, 900 + n % 801, 100 + n % 97, 0, 0,
                200, 40 + n % 999, 2000, '', 1500, CASE WHEN {_MODEL} % 3 = 0 THEN 0 ELSE 7 END
            FROM counted JOIN sample_people AS person ON person.number = (n / {_DAYS}) % {len(people)}""",
            until,
        )
    await db.execute(
        f"""INSERT INTO usage_days (day, user_id, model, backend_id, key_id, is_background, is_free, calls, failed,
            input, output, cached, reasoning, cost, held_ms, energy_mwh)
        SELECT at / {DAY_MS}, user_id, model, backend_id, key_id, is_background, cost = 0, count(*), 0,
            sum(input_tokens), sum(output_tokens), 0, 0, sum(cost), sum(held_ms), 0
        FROM usage GROUP BY 1, 2, 3, 4, 5, 6, 7"""
    )
    sums = "sum(calls), 0, sum(input), sum(output), 0, 0, sum(cost), sum(held_ms), 0"
    await db.execute(
        f"INSERT INTO usage_box_days SELECT day, model, is_free, {sums} FROM usage_days GROUP BY day, model, is_free"
    )
    month = Month.around(until)
    while month.days.stop > day_of(until) - _DAYS:
        await db.execute(
            f"""INSERT INTO usage_months SELECT CAST($1 AS BIGINT), user_id, {sums}
            FROM usage_days WHERE day >= $2 AND day < $3 GROUP BY user_id""",
            *(month.count, month.days.start, month.days.stop),
        )
        month = month.earlier
    await db.execute(
        """INSERT INTO usage_first_words (month, model, eighths, calls)
        SELECT CAST($1 AS BIGINT), model, 40 + first_ms % 40, count(*) FROM usage GROUP BY 1, 2, 3""",
        Month.around(until).count,
    )
    await db.execute("DROP TABLE sample_people")
    if db.dialect == "postgresql":  # as its autovacuum does within a minute
        await db.execute("ANALYZE")
