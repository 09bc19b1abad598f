"""Rows of authenticator apps: one sealed secret for each member who uses one."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.store.db import Database, Row
from clawloops.store.seal import Sealed

TABLE = "authenticators"
"""The table's name as it goes into the seal."""

_COLUMNS = "user_id, version, key_id, wrapped, nonce, ciphertext, created_at"


@dataclass(frozen=True, slots=True)
class Authenticator:
    sealed: Sealed
    created_at: int

    @property
    def user_id(self) -> str:
        return self.sealed.credential_id


def _authenticator(row: Row) -> Authenticator:
    sealed = Sealed(
        credential_id=row["user_id"],
        version=row["version"],
        key_id=row["key_id"],
        wrapped=row["wrapped"],
        nonce=row["nonce"],
        ciphertext=row["ciphertext"],
    )
    return Authenticator(sealed, row["created_at"])


async def put(db: Database, made: Authenticator, *, used_step: int) -> None:
    """Set a member's, or replace it. `used_step`: of the code that confirmed it."""
    sealed = made.sealed
    await db.execute(
        f"""INSERT INTO authenticators ({_COLUMNS}, used_step) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (user_id) DO UPDATE SET version = excluded.version, key_id = excluded.key_id,
        wrapped = excluded.wrapped, nonce = excluded.nonce, ciphertext = excluded.ciphertext,
        created_at = excluded.created_at, used_step = excluded.used_step""",
        *(sealed.credential_id, sealed.version, sealed.key_id, sealed.wrapped, sealed.nonce, sealed.ciphertext),
        *(made.created_at, used_step),
    )


async def get(db: Database, user_id: str) -> Authenticator | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM authenticators WHERE user_id = $1", user_id)
    return _authenticator(row) if row else None


async def all(db: Database) -> list[Authenticator]:
    return [_authenticator(row) for row in await db.fetch(f"SELECT {_COLUMNS} FROM authenticators ORDER BY user_id")]


async def use_step(db: Database, user_id: str, version: int, step: int) -> bool:
    """Take the code of a step, once: False when it, or a later one, was taken before, or the secret was replaced."""
    return bool(
        await db.execute(
            "UPDATE authenticators SET used_step = $1 WHERE user_id = $2 AND version = $3 AND used_step < $1",
            *(step, user_id, version),
        )
    )


async def reseal(db: Database, sealed: Sealed) -> None:
    """Replace the seal of a member's secret; the secret stays."""
    await db.execute(
        "UPDATE authenticators SET key_id = $1, wrapped = $2, nonce = $3, ciphertext = $4 WHERE user_id = $5",
        *(sealed.key_id, sealed.wrapped, sealed.nonce, sealed.ciphertext, sealed.credential_id),
    )


async def delete(db: Database, user_id: str) -> bool:
    """Whether there was one."""
    return bool(await db.execute("DELETE FROM authenticators WHERE user_id = $1", user_id))
