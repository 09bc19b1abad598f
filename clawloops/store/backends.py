"""Rows of model backends."""

from __future__ import annotations

from clawloops.errors import NotFound
from clawloops.model.provider import Backend, BackendKind
from clawloops.store.db import Database, Row

_COLUMNS = "id, name, kind, url, provider, created_at, slots, watts, memory_mb"


def _backend(row: Row) -> Backend:
    return Backend(**{**row, "kind": BackendKind(row["kind"])})


async def add(db: Database, backend: Backend) -> None:
    """Raises Conflict when the name is taken."""
    await db.execute(
        f"INSERT INTO backends ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        backend.id,
        backend.name,
        backend.kind.value,
        backend.url,
        backend.provider,
        backend.created_at,
        backend.slots,
        backend.watts,
        backend.memory_mb,
    )


async def get(db: Database, backend_id: str) -> Backend | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM backends WHERE id = $1", backend_id)
    return _backend(row) if row else None


async def all(db: Database) -> list[Backend]:
    """Oldest first."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM backends ORDER BY created_at, id")
    return [_backend(row) for row in rows]


async def set_load(db: Database, backend_id: str, *, slots: int, watts: int, memory_mb: int) -> None:
    """Raises NotFound."""
    query = "UPDATE backends SET slots = $1, watts = $2, memory_mb = $3 WHERE id = $4"
    if not await db.execute(query, slots, watts, memory_mb, backend_id):
        raise NotFound("this backend was removed meanwhile; reload the page")


async def delete(db: Database, backend_id: str) -> None:
    """Remove it with its credential and its models."""
    await db.execute("DELETE FROM backends WHERE id = $1", backend_id)
