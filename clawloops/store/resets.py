"""Rows of links with which members set a new password. Each is used once, by one UPDATE."""

from __future__ import annotations

from clawloops.errors import Gone
from clawloops.model.account import PasswordReset
from clawloops.store.db import Database, Row

_COLUMNS = "user_id, token_hash, drops_factors, made_by, made_at, expires_at, used_at"


def _reset(row: Row) -> PasswordReset:
    return PasswordReset(**{**row, "drops_factors": bool(row["drops_factors"])})


async def put(db: Database, reset: PasswordReset) -> None:
    """It takes the place of an earlier one of the same member; `last_use` stays what it was."""
    await db.execute(
        f"""INSERT INTO password_resets ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, drops_factors = excluded.drops_factors,
        made_by = excluded.made_by, made_at = excluded.made_at, expires_at = excluded.expires_at,
        used_at = excluded.used_at""",
        *(reset.user_id, reset.token_hash, reset.drops_factors, reset.made_by, reset.made_at, reset.expires_at),
        reset.used_at,
    )


async def by_token(db: Database, token_hash: bytes) -> PasswordReset | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM password_resets WHERE token_hash = $1", token_hash)
    return _reset(row) if row else None


async def last_use(db: Database, user_id: str) -> tuple[int, str] | None:
    """When a link of theirs was used last (Unix ms), and the id of whoever had made it."""
    query = "SELECT last_used_at, last_made_by FROM password_resets WHERE user_id = $1 AND last_used_at IS NOT NULL"
    row = await db.fetchrow(query, user_id)
    return (row["last_used_at"], row["last_made_by"]) if row else None


async def open(db: Database, now: int) -> list[PasswordReset]:
    """Those that can still be used at `now` (Unix ms)."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM password_resets WHERE used_at IS NULL AND expires_at > $1", now)
    return [_reset(row) for row in rows]


async def claim(db: Database, token_hash: bytes, now: int) -> None:
    """Use it up. Raises Gone when it was used, has ended, or was withdrawn."""
    query = """UPDATE password_resets SET used_at = $1, last_used_at = $1, last_made_by = made_by
        WHERE token_hash = $2 AND used_at IS NULL AND expires_at > $1"""
    if not await db.execute(query, now, token_hash):
        raise Gone("This link was used already or has expired. Ask for a new one.")


async def withdraw(db: Database, user_id: str) -> bool:
    """Whether there was one that nobody had used."""
    query = "UPDATE password_resets SET expires_at = 0 WHERE user_id = $1 AND used_at IS NULL AND expires_at > 0"
    return bool(await db.execute(query, user_id))
