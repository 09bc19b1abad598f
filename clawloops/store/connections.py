"""Rows of what members let their agents use; the secrets of each are sealed for its owner and where they may go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from clawloops.errors import Conflict, SealBroken
from clawloops.model.connection import Connection, Kind
from clawloops.store.db import Database, Row
from clawloops.store.seal import Sealed, Sealer

TABLE = "connections"
"""The table's name as it goes into the seal."""

_COLUMNS = "id, user_id, kind, name, target, enabled, created_at, version, key_id, wrapped, nonce, ciphertext"


@dataclass(frozen=True, slots=True)
class Kept:
    """A connection without its secrets, and these as they are at rest."""

    connection: Connection
    sealed: Sealed


async def add(db: Database, sealer: Sealer, connection: Connection) -> None:
    """Raises Conflict when its name is taken or its owner is gone."""
    sealed = _seal(sealer, connection, version=connection.version)
    await db.execute(
        f"INSERT INTO connections ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        *(connection.id, connection.user_id, connection.kind.value, connection.name, connection.target),
        *(connection.enabled, connection.created_at, sealed.version, sealed.key_id, sealed.wrapped, sealed.nonce),
        sealed.ciphertext,
    )


async def all(db: Database) -> list[Kept]:
    """Everybody's, none of them opened."""
    return [_kept(row) for row in await db.fetch(f"SELECT {_COLUMNS} FROM connections ORDER BY id")]


async def of(db: Database, sealer: Sealer, user_id: str) -> list[Connection]:
    """A member's, oldest first, opened. One whose seal does not open comes without its secrets."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM connections WHERE user_id = $1 ORDER BY created_at, id", user_id)
    return [_opened(sealer, _kept(row)) for row in rows]


async def put(db: Database, sealer: Sealer, connection: Connection) -> None:
    """Write a changed copy (`dataclasses.replace`). Raises Conflict when it was changed since, or its name is taken."""
    sealed = _seal(sealer, connection, version=connection.version + 1)
    changed = await db.execute(
        """UPDATE connections SET name = $1, kind = $2, target = $3, enabled = $4, version = $5, key_id = $6,
        wrapped = $7, nonce = $8, ciphertext = $9 WHERE id = $10 AND version = $11""",
        *(connection.name, connection.kind.value, connection.target, connection.enabled, sealed.version),
        *(sealed.key_id, sealed.wrapped, sealed.nonce, sealed.ciphertext, connection.id, connection.version),
    )
    if not changed:
        raise Conflict("This was changed meanwhile. Reload the page and try again.")


async def reseal(db: Database, sealed: Sealed) -> None:
    """Replace the seal of the one with its id."""
    await db.execute(
        "UPDATE connections SET version = $1, key_id = $2, wrapped = $3, nonce = $4, ciphertext = $5 WHERE id = $6",
        *(sealed.version, sealed.key_id, sealed.wrapped, sealed.nonce, sealed.ciphertext, sealed.credential_id),
    )


async def delete(db: Database, connection_id: str, user_id: str) -> bool:
    """Whether that member had it."""
    return bool(await db.execute("DELETE FROM connections WHERE id = $1 AND user_id = $2", connection_id, user_id))


def place_of(connection: Connection) -> dict[str, str]:
    """What a seal is bound to, besides its id and version."""
    provider = f"{connection.kind} {connection.held_for}"
    return {"table": TABLE, "provider": provider, "owner": connection.user_id}


def _seal(sealer: Sealer, connection: Connection, *, version: int) -> Sealed:
    secrets: Mapping[str, str] = connection.secrets or {}
    return sealer.seal(json.dumps(dict(secrets)), credential_id=connection.id, version=version, **place_of(connection))


def _opened(sealer: Sealer, kept: Kept) -> Connection:
    try:
        text = sealer.open(kept.sealed, **place_of(kept.connection))
    except (SealBroken, ValueError):  # ValueError: an address that somebody has written into the database
        return kept.connection
    return replace(kept.connection, secrets=json.loads(text))


def _kept(row: Row) -> Kept:
    connection = Connection(
        row["id"],
        row["user_id"],
        Kind(row["kind"]),
        row["name"],
        row["target"],
        bool(row["enabled"]),
        row["created_at"],
        row["version"],
        None,
    )
    sealed = Sealed(row["id"], row["version"], row["key_id"], row["wrapped"], row["nonce"], row["ciphertext"])
    return Kept(connection, sealed)
