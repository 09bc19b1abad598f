"""Rows of members' tokens for the JSON API. What was made with one falls with it (a foreign key sees to it)."""

from __future__ import annotations

from clawloops.model.token import PersonalToken, TokenScope
from clawloops.store.db import Database, Row

_COLUMNS = "id, user_id, name, token_hash, hint, scopes, created_at, expires_at, used_at"


def _token(row: Row) -> PersonalToken:
    scopes = frozenset(map(TokenScope, row["scopes"].split()))
    return PersonalToken(**{**row, "token_hash": bytes(row["token_hash"]), "scopes": scopes})


async def add(db: Database, token: PersonalToken) -> None:
    """Raises Conflict when its owner has a token of that name."""
    await db.execute(
        f"INSERT INTO personal_tokens ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        token.id,
        token.user_id,
        token.name,
        token.token_hash,
        token.hint,
        " ".join(sorted(token.scopes)),
        token.created_at,
        token.expires_at,
        token.used_at,
    )


async def all(db: Database) -> list[PersonalToken]:
    return [_token(row) for row in await db.fetch(f"SELECT {_COLUMNS} FROM personal_tokens")]


async def touch(db: Database, token_id: str, used_at: int) -> None:
    """Move `used_at` forward, never back."""
    await db.execute("UPDATE personal_tokens SET used_at = $1 WHERE id = $2 AND used_at < $1", used_at, token_id)


async def delete(db: Database, token_id: str, user_id: str) -> bool:
    """Whether there was such a token of that member."""
    return await db.execute("DELETE FROM personal_tokens WHERE id = $1 AND user_id = $2", token_id, user_id) > 0


async def delete_user(db: Database, user_id: str) -> int:
    """All of one member's. Returns how many."""
    return await db.execute("DELETE FROM personal_tokens WHERE user_id = $1", user_id)
