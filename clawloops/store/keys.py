"""Rows of members' keys for their own tools."""

from __future__ import annotations

from clawloops.model.key import ApiKey
from clawloops.store.db import Database, Row

_COLUMNS = "id, user_id, name, token_hash, hint, models, created_at, expires_at, token_id"


def _key(row: Row) -> ApiKey:
    return ApiKey(**{**row, "token_hash": bytes(row["token_hash"]), "models": frozenset(row["models"].split())})


async def add(db: Database, key: ApiKey) -> None:
    """Raises Conflict when its owner has a key of that name, or the token that it is made with is no more."""
    await db.execute(
        f"INSERT INTO api_keys ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        key.id,
        key.user_id,
        key.name,
        key.token_hash,
        key.hint,
        "\n".join(sorted(key.models)),
        key.created_at,
        key.expires_at,
        key.token_id,
    )


async def all(db: Database) -> list[ApiKey]:
    return [_key(row) for row in await db.fetch(f"SELECT {_COLUMNS} FROM api_keys")]


async def of(db: Database, user_id: str) -> list[ApiKey]:
    """One member's, newest first."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM api_keys WHERE user_id = $1 ORDER BY created_at DESC, id", user_id)
    return [_key(row) for row in rows]


async def delete(db: Database, key_id: str, user_id: str) -> ApiKey | None:
    """Remove the key if it is that member's; None when there is no such one."""
    row = await db.fetchrow(
        f"DELETE FROM api_keys WHERE id = $1 AND user_id = $2 RETURNING {_COLUMNS}", key_id, user_id
    )
    return _key(row) if row else None
