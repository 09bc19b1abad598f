"""Rows of sealed credentials, one per backend at most."""

from __future__ import annotations

from clawloops.errors import Conflict
from clawloops.store.db import Database, Row
from clawloops.store.seal import Sealed

TABLE = "credentials"
"""The table's name as it goes into the seal."""

_COLUMNS = "id, version, key_id, wrapped, nonce, ciphertext"


def _sealed(row: Row) -> Sealed:
    return Sealed(
        credential_id=row["id"],
        version=row["version"],
        key_id=row["key_id"],
        wrapped=row["wrapped"],
        nonce=row["nonce"],
        ciphertext=row["ciphertext"],
    )


async def put(db: Database, backend_id: str, sealed: Sealed) -> None:
    """Set or replace. Raises Conflict unless a replacement has a new id or a higher version."""
    changed = await db.execute(
        """INSERT INTO credentials (backend_id, id, version, key_id, wrapped, nonce, ciphertext)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (backend_id) DO UPDATE SET id = excluded.id, version = excluded.version, key_id = excluded.key_id,
            wrapped = excluded.wrapped, nonce = excluded.nonce, ciphertext = excluded.ciphertext
        WHERE credentials.id <> excluded.id OR credentials.version < excluded.version""",
        backend_id,
        sealed.credential_id,
        sealed.version,
        sealed.key_id,
        sealed.wrapped,
        sealed.nonce,
        sealed.ciphertext,
    )
    if not changed:
        raise Conflict("this key was replaced meanwhile; reload and try again")


async def get(db: Database, backend_id: str) -> Sealed | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM credentials WHERE backend_id = $1", backend_id)
    return _sealed(row) if row else None


async def all(db: Database) -> dict[str, Sealed]:
    """Every credential by the id of its backend."""
    rows = await db.fetch(f"SELECT backend_id, {_COLUMNS} FROM credentials")
    return {row["backend_id"]: _sealed(row) for row in rows}


async def delete(db: Database, backend_id: str) -> None:
    await db.execute("DELETE FROM credentials WHERE backend_id = $1", backend_id)
