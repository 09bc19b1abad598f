"""Rows of who people are to an identity provider. An identity belongs to one account, and the keys see to it."""

from __future__ import annotations

from clawloops.errors import Conflict
from clawloops.model.issuer import Identity
from clawloops.store.db import Database, Row

_COLUMNS = "issuer, subject, user_id, said, linked_at, used_at, unlinked_at"


def _identity(row: Row) -> Identity:
    return Identity(**row)


async def add(db: Database, made: Identity) -> None:
    """Raises Conflict when it belongs to an account, or the account has another one of that issuer.

    One that was unlinked, or whose account is disabled, may go to another account.
    """
    if not await db.execute(
        f"""INSERT INTO identities ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (issuer, subject) DO UPDATE SET user_id = excluded.user_id, said = excluded.said,
        linked_at = excluded.linked_at, used_at = excluded.used_at, unlinked_at = excluded.unlinked_at
        WHERE identities.unlinked_at IS NOT NULL
        OR identities.user_id IN (SELECT id FROM users WHERE disabled_at IS NOT NULL)""",
        *(made.issuer, made.subject, made.user_id, made.said, made.linked_at, made.used_at, made.unlinked_at),
    ):
        raise Conflict("this identity belongs to an account already")


async def find(db: Database, issuer: str, subject: str) -> Identity | None:
    """Also one that was unlinked."""
    query = f"SELECT {_COLUMNS} FROM identities WHERE issuer = $1 AND subject = $2"
    row = await db.fetchrow(query, issuer, subject)
    return _identity(row) if row else None


async def of(db: Database, issuer: str, user_id: str) -> Identity | None:
    query = f"SELECT {_COLUMNS} FROM identities WHERE issuer = $1 AND user_id = $2 AND unlinked_at IS NULL"
    row = await db.fetchrow(query, issuer, user_id)
    return _identity(row) if row else None


async def all_of(db: Database, issuer: str) -> list[Identity]:
    """Latest use first."""
    query = (
        f"SELECT {_COLUMNS} FROM identities WHERE issuer = $1 AND unlinked_at IS NULL ORDER BY used_at DESC, user_id"
    )
    return [_identity(row) for row in await db.fetch(query, issuer)]


async def use(db: Database, used: Identity, said: str, at: int) -> None:
    """It has signed somebody in at `at` (Unix ms), who is called `said` there now."""
    await db.execute(
        "UPDATE identities SET said = $1, used_at = $2 WHERE issuer = $3 AND subject = $4",
        *(said, at, used.issuer, used.subject),
    )


async def unlink(db: Database, issuer: str, user_id: str, at: int) -> bool:
    """It signs nobody in from `at` (Unix ms) on; whether there was one."""
    query = "UPDATE identities SET unlinked_at = $1 WHERE issuer = $2 AND user_id = $3 AND unlinked_at IS NULL"
    return bool(await db.execute(query, at, issuer, user_id))
