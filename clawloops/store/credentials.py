"""Rows of sealed keys of backends."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.store.db import Database, Row
from clawloops.store.seal import Sealed

TABLE = "credentials"
"""The table's name as it goes into the seal."""

_COLUMNS = "id, backend_id, version, key_id, wrapped, nonce, ciphertext, name, hint, group_id, created_at"


@dataclass(frozen=True, slots=True)
class Kept:
    """A sealed key, with what an admin may know of it."""

    sealed: Sealed
    backend_id: str
    name: str  # the admin's word for it, or ""
    hint: str  # its last characters, or ""
    group_id: str | None  # of those whose calls it is for; None: everybody's
    created_at: int

    @property
    def id(self) -> str:
        return self.sealed.credential_id


def _kept(row: Row) -> Kept:
    sealed = Sealed(
        credential_id=row["id"],
        version=row["version"],
        key_id=row["key_id"],
        wrapped=row["wrapped"],
        nonce=row["nonce"],
        ciphertext=row["ciphertext"],
    )
    return Kept(sealed, row["backend_id"], row["name"], row["hint"], row["group_id"], row["created_at"])


async def add(db: Database, kept: Kept) -> None:
    """Raises Conflict when its backend or its group is gone."""
    sealed = kept.sealed
    await db.execute(
        f"INSERT INTO credentials ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        *(sealed.credential_id, kept.backend_id, sealed.version, sealed.key_id, sealed.wrapped, sealed.nonce),
        *(sealed.ciphertext, kept.name, kept.hint, kept.group_id, kept.created_at),
    )


async def all(db: Database) -> list[Kept]:
    """Oldest first."""
    return [_kept(row) for row in await db.fetch(f"SELECT {_COLUMNS} FROM credentials ORDER BY created_at, id")]


async def reseal(db: Database, sealed: Sealed) -> None:
    """Replace the seal of the key with its id."""
    await db.execute(
        "UPDATE credentials SET version = $1, key_id = $2, wrapped = $3, nonce = $4, ciphertext = $5 WHERE id = $6",
        *(sealed.version, sealed.key_id, sealed.wrapped, sealed.nonce, sealed.ciphertext, sealed.credential_id),
    )


async def delete(db: Database, credential_id: str, backend_id: str) -> bool:
    """Whether that backend had it."""
    return bool(
        await db.execute("DELETE FROM credentials WHERE id = $1 AND backend_id = $2", credential_id, backend_id)
    )
