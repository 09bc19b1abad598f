"""Rows of prices: of what is served where, from LiteLLM's table or an admin's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clawloops.model.provider import Place
from clawloops.model.usage import Price
from clawloops.store.db import Database


@dataclass(frozen=True, slots=True)
class Listed:
    price: Price
    is_own: bool  # an admin's, which no table changes


async def all(db: Database) -> dict[Place, Listed]:
    rows = await db.fetch("SELECT backend_id, upstream, input, output, cached, is_own FROM prices")
    return {
        Place(row["backend_id"], row["upstream"]): Listed(
            Price(row["input"], row["output"], row["cached"]), bool(row["is_own"])
        )
        for row in rows
    }


async def put(db: Database, prices: Mapping[Place, Listed]) -> None:
    """Keep these. Raises Conflict when a backend is gone."""
    async with db.transaction():
        for place, listed in prices.items():
            price = listed.price
            await db.execute(
                """INSERT INTO prices (backend_id, upstream, input, output, cached, is_own)
                VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (backend_id, upstream) DO UPDATE SET
                input = excluded.input, output = excluded.output, cached = excluded.cached, is_own = excluded.is_own""",
                *(place.backend_id, place.upstream, price.input, price.output, price.cached, listed.is_own),
            )


async def delete(db: Database, place: Place) -> None:
    """Forget one; nothing happens when there is none."""
    await db.execute("DELETE FROM prices WHERE backend_id = $1 AND upstream = $2", place.backend_id, place.upstream)
