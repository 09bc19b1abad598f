"""Rows of people."""

from __future__ import annotations

from clawloops.errors import NotFound
from clawloops.model.account import Role, User
from clawloops.store.db import Database, Row

_COLUMNS = "id, login, name, role, password_hash, disabled_at, created_at"


def _user(row: Row) -> User:
    return User(**{**row, "role": Role(row["role"])})


async def add(db: Database, user: User) -> None:
    """Raises Conflict when the login is taken."""
    await db.execute(
        f"INSERT INTO users ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        user.id,
        user.login,
        user.name,
        user.role.value,
        user.password_hash,
        user.disabled_at,
        user.created_at,
    )


async def get(db: Database, user_id: str) -> User | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE id = $1", user_id)
    return _user(row) if row else None


async def by_login(db: Database, login: str) -> User | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE login = $1", login)
    return _user(row) if row else None


async def all(db: Database) -> list[User]:
    """Everybody, first come first."""
    return [_user(row) for row in await db.fetch(f"SELECT {_COLUMNS} FROM users ORDER BY created_at, id")]


async def set_password(db: Database, user_id: str, password_hash: str) -> None:
    """Raises NotFound."""
    if not await db.execute("UPDATE users SET password_hash = $1 WHERE id = $2", password_hash, user_id):
        raise NotFound("there is no such member")


async def set_role(db: Database, user_id: str, role: Role) -> None:
    """Raises NotFound."""
    if not await db.execute("UPDATE users SET role = $1 WHERE id = $2", role.value, user_id):
        raise NotFound("there is no such member")


async def set_disabled(db: Database, user_id: str, at: int | None) -> None:
    """Disable at an instant (Unix ms), or enable with None. Raises NotFound."""
    if not await db.execute("UPDATE users SET disabled_at = $1 WHERE id = $2", at, user_id):
        raise NotFound("there is no such member")


async def count_owners(db: Database) -> int:
    """Owners who are not disabled: zero means that the appliance is not set up yet."""
    rows = await db.fetch("SELECT count(*) AS n FROM users WHERE role = 'owner' AND disabled_at IS NULL")
    return int(rows[0]["n"])
