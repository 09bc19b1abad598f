"""Rows of passkeys."""

from __future__ import annotations

from clawloops.model.factor import Passkey
from clawloops.store.db import Database

_COLUMNS = "id, user_id, credential_id, public_key, handle, sign_count, name, created_at, used_at"


async def add(db: Database, made: Passkey) -> None:
    """Raises Conflict when this credential is registered already, for whomever."""
    await db.execute(
        f"INSERT INTO passkeys ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(made.id, made.user_id, made.credential_id, made.public_key, made.handle, made.sign_count),
        *(made.name, made.created_at, made.used_at),
    )


async def of(db: Database, user_id: str) -> list[Passkey]:
    """A member's, oldest first."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM passkeys WHERE user_id = $1 ORDER BY created_at, id", user_id)
    return [Passkey(**row) for row in rows]


async def by_credential(db: Database, credential_id: bytes) -> Passkey | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM passkeys WHERE credential_id = $1", credential_id)
    return Passkey(**row) if row else None


async def use(db: Database, passkey_id: str, *, sign_count: int, at: int) -> bool:
    """Note a use. False when the counter did not rise (0 after 0 means that it counts none), or it was removed."""
    return bool(
        await db.execute(
            """UPDATE passkeys SET sign_count = $1, used_at = $2
            WHERE id = $3 AND (sign_count < $1 OR (sign_count = 0 AND $1 = 0))""",
            *(sign_count, at, passkey_id),
        )
    )


async def delete(db: Database, passkey_id: str, user_id: str) -> Passkey | None:
    """What that member had under this id."""
    rows = await db.fetch(
        f"DELETE FROM passkeys WHERE id = $1 AND user_id = $2 RETURNING {_COLUMNS}", passkey_id, user_id
    )
    return Passkey(**rows[0]) if rows else None


async def delete_user(db: Database, user_id: str) -> int:
    """All of one member's; how many there were."""
    return await db.execute("DELETE FROM passkeys WHERE user_id = $1", user_id)
