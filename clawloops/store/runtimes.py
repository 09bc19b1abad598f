"""Rows of wishes: what each member's runtime should be. Every change of a row raises its version."""

from __future__ import annotations

from typing import Any

from clawloops.errors import Conflict, NotFound
from clawloops.model.runtime import Runtime, Want
from clawloops.store.db import Database, Row

_COLUMNS = "id, owner, slug, want, subnet, generation, token_hash, version, failures, failure, retry_at, created_at"
_SELECT = f"SELECT {_COLUMNS} FROM runtimes"


def _runtime(row: Row) -> Runtime:
    return Runtime(**{**row, "want": Want(row["want"])})


async def _one(db: Database, sql: str, *args: Any) -> Runtime | None:
    row = await db.fetchrow(sql, *args)
    return _runtime(row) if row else None


async def add(db: Database, runtime: Runtime) -> None:
    """Raises Conflict when the owner has one already, or the slug or subnet is taken (its text names the column)."""
    await db.execute(
        f"INSERT INTO runtimes ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        runtime.id,
        runtime.owner,
        runtime.slug,
        runtime.want.value,
        runtime.subnet,
        runtime.generation,
        runtime.token_hash,
        runtime.version,
        runtime.failures,
        runtime.failure,
        runtime.retry_at,
        runtime.created_at,
    )


async def get(db: Database, runtime_id: str) -> Runtime | None:
    return await _one(db, f"{_SELECT} WHERE id = $1", runtime_id)


async def by_owner(db: Database, user_id: str) -> Runtime | None:
    return await _one(db, f"{_SELECT} WHERE owner = $1", user_id)


async def by_slug(db: Database, slug: str) -> Runtime | None:
    return await _one(db, f"{_SELECT} WHERE slug = $1", slug)


async def all(db: Database) -> list[Runtime]:
    """Oldest first."""
    return [_runtime(row) for row in await db.fetch(f"{_SELECT} ORDER BY created_at, id")]


async def subnets(db: Database) -> set[str]:
    """Every subnet that is taken, in CIDR notation."""
    return {row["subnet"] for row in await db.fetch("SELECT subnet FROM runtimes")}


async def set_want(db: Database, runtime: Runtime, want: Want) -> Runtime:
    """Change the wish of the row as it was read. Raises Conflict when it was changed since."""
    changed = await _one(
        db,
        f"""UPDATE runtimes SET want = $1, version = version + 1
        WHERE id = $2 AND version = $3 RETURNING {_COLUMNS}""",
        want.value,
        runtime.id,
        runtime.version,
    )
    if changed is None:
        raise Conflict("this workspace was changed meanwhile; reload and try again")
    return changed


async def new_generation(db: Database, runtime_id: str, token_hash: bytes) -> Runtime:
    """Replace the model token (its SHA-256): the one before is worth nothing from here on. Raises NotFound."""
    return _found(
        await _one(
            db,
            f"""UPDATE runtimes SET generation = generation + 1, token_hash = $1, version = version + 1
            WHERE id = $2 RETURNING {_COLUMNS}""",
            token_hash,
            runtime_id,
        )
    )


async def set_failure(db: Database, runtime_id: str, failures: int, failure: str, retry_at: int) -> Runtime:
    """Note starts that failed in a row, why, and when to try again (Unix ms); `0, "", 0` clears. Raises NotFound."""
    return _found(
        await _one(
            db,
            f"""UPDATE runtimes SET failures = $1, failure = $2, retry_at = $3, version = version + 1
            WHERE id = $4 RETURNING {_COLUMNS}""",
            failures,
            failure,
            retry_at,
            runtime_id,
        )
    )


def _found(runtime: Runtime | None) -> Runtime:
    if runtime is None:
        raise NotFound("there is no such workspace")
    return runtime
