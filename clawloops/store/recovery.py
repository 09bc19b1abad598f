"""Rows of recovery codes (hashes only), and who has a second factor at all."""

from __future__ import annotations

from collections.abc import Iterable

from clawloops.store.db import Database


async def replace(db: Database, user_id: str, hashes: Iterable[bytes]) -> None:
    """In the caller's transaction: from now on these are a member's codes, and no others."""
    await delete_user(db, user_id)
    for each in hashes:
        await db.execute("INSERT INTO recovery_codes (hash, user_id) VALUES ($1, $2)", each, user_id)


async def use(db: Database, user_id: str, code_hash: bytes, *, at: int) -> bool:
    """Use one up. False when that member has none like it that is still good."""
    return bool(
        await db.execute(
            "UPDATE recovery_codes SET used_at = $1 WHERE user_id = $2 AND hash = $3 AND used_at IS NULL",
            *(at, user_id, code_hash),
        )
    )


async def count(db: Database, user_id: str) -> tuple[int, int | None]:
    """How many are left, and when the last one was used (Unix ms)."""
    rows = await db.fetch(
        "SELECT count(*) - count(used_at) AS unused, max(used_at) AS last FROM recovery_codes WHERE user_id = $1",
        user_id,
    )
    return int(rows[0]["unused"]), rows[0]["last"]


async def exist(db: Database, user_id: str) -> bool:
    """Whether any were made, used or not."""
    return bool(await db.fetch("SELECT 1 AS one FROM recovery_codes WHERE user_id = $1 LIMIT 1", user_id))


async def delete_user(db: Database, user_id: str) -> int:
    return await db.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)


async def holders(db: Database) -> frozenset[str]:
    """Ids of everybody who has a second factor."""
    rows = await db.fetch("SELECT user_id FROM authenticators UNION SELECT user_id FROM passkeys")
    return frozenset(row["user_id"] for row in rows)
