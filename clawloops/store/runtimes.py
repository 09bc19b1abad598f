"""Rows of wishes: what each member's runtime should be. Every change of a row raises its version."""

from __future__ import annotations

from dataclasses import fields, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from clawloops.errors import Conflict, NotFound
from clawloops.model.runtime import Policy, Runtime, Size, Sleep, Want
from clawloops.store.db import Database, Row

_NAMES = tuple(each.name for each in fields(Runtime))
_COLUMNS = ", ".join(_NAMES)
_SELECT = f"SELECT {_COLUMNS} FROM runtimes"
_FIXED = frozenset({"id", "owner", "slug", "subnet", "created_at", "version"})
_CHANGING = tuple(name for name in _NAMES if name not in _FIXED)
_KINDS = {"want": Want, "sleep": Sleep, "policy": Policy, "size": Size, "sleeps_despite_polling": bool}


def _runtime(row: Row) -> Runtime:
    return _made(*row.values())


@lru_cache(1024)
def _made(*values: Any) -> Runtime:
    """Of the values of a row. Nearly all rows are as they were when all were read last."""
    row = dict(zip(_NAMES, values, strict=True))
    return Runtime(**{**row, **{name: kind(row[name]) for name, kind in _KINDS.items()}})


def _plain(runtime: Runtime, name: str) -> Any:
    value = getattr(runtime, name)
    return value.value if isinstance(value, StrEnum) else value


async def _one(db: Database, sql: str, *args: Any) -> Runtime | None:
    row = await db.fetchrow(sql, *args)
    return _runtime(row) if row else None


async def add(db: Database, runtime: Runtime) -> None:
    """Raises Conflict when the owner has one already, or the slug or subnet is taken (its text names the column)."""
    places = ", ".join(f"${number}" for number in range(1, len(_NAMES) + 1))
    values = [_plain(runtime, name) for name in _NAMES]
    await db.execute(f"INSERT INTO runtimes ({_COLUMNS}) VALUES ({places})", *values)


async def get(db: Database, runtime_id: str) -> Runtime | None:
    return await _one(db, f"{_SELECT} WHERE id = $1", runtime_id)


async def by_owner(db: Database, user_id: str) -> Runtime | None:
    return await _one(db, f"{_SELECT} WHERE owner = $1", user_id)


async def by_slug(db: Database, slug: str) -> Runtime | None:
    return await _one(db, f"{_SELECT} WHERE slug = $1", slug)


async def all(db: Database) -> list[Runtime]:
    """Oldest first."""
    return [_runtime(row) for row in await db.fetch(f"{_SELECT} ORDER BY created_at, id")]


async def page(db: Database, after: tuple[int, str], limit: int) -> list[Runtime]:
    """Oldest first, from behind an instant of making and an id."""
    rows = await db.fetch(
        f"{_SELECT} WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3", *after, limit
    )
    return [_runtime(row) for row in rows]


async def subnets(db: Database) -> set[str]:
    """Every subnet that is taken, in CIDR notation."""
    return {row["subnet"] for row in await db.fetch("SELECT subnet FROM runtimes")}


async def put(db: Database, runtime: Runtime) -> Runtime:
    """Write a changed copy (`dataclasses.replace`) of a row. Raises Conflict when it was changed since it was read."""
    settings = ", ".join(f"{name} = ${number}" for number, name in enumerate(_CHANGING, start=3))
    changed = await _one(
        db,
        f"UPDATE runtimes SET {settings}, version = version + 1 WHERE id = $1 AND version = $2 RETURNING {_COLUMNS}",
        runtime.id,
        runtime.version,
        *(_plain(runtime, name) for name in _CHANGING),
    )
    if changed is None:
        raise Conflict("this workspace was changed meanwhile; reload and try again")
    return changed


async def set_want(db: Database, runtime: Runtime, want: Want, *, why: str = "") -> Runtime:
    """Change the wish, which also ends any sleep. Raises Conflict when the row was changed since it was read.

    `why`: for a person who reads later why it runs or not.
    """
    return await put(db, replace(runtime, want=want, sleep=Sleep.AWAKE, sleep_why=why, wake_at=0))


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


async def renew_decoy(db: Database, runtime_id: str) -> Runtime | None:
    """Another decoy takes the place of the one before. None when there is no such runtime."""
    return await _one(
        db,
        f"UPDATE runtimes SET decoy = decoy + 1, version = version + 1 WHERE id = $1 RETURNING {_COLUMNS}",
        runtime_id,
    )


def _found(runtime: Runtime | None) -> Runtime:
    if runtime is None:
        raise NotFound("there is no such workspace")
    return runtime
