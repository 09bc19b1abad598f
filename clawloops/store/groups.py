"""Rows of groups, and of who is in them."""

from __future__ import annotations

from collections.abc import Collection

from clawloops.errors import NotFound
from clawloops.model.account import Group
from clawloops.store.db import Database


async def all(db: Database) -> list[Group]:
    """Oldest first."""
    members: dict[str, set[str]] = {}
    for row in await db.fetch("SELECT group_id, user_id FROM group_members"):
        members.setdefault(row["group_id"], set()).add(row["user_id"])
    rows = await db.fetch("SELECT id, name, created_at FROM groups ORDER BY created_at, id")
    return [Group(row["id"], row["name"], frozenset(members.get(row["id"], ())), row["created_at"]) for row in rows]


async def add(db: Database, group: Group) -> None:
    """Raises Conflict when the name is taken or a member is gone."""
    async with db.transaction():
        await db.execute(
            "INSERT INTO groups (id, name, created_at) VALUES ($1, $2, $3)", group.id, group.name, group.created_at
        )
        await _fill(db, group.id, group.members)


async def change(db: Database, group_id: str, name: str, members: Collection[str]) -> None:
    """Raises NotFound, and Conflict as `add` does."""
    async with db.transaction():
        if not await db.execute("UPDATE groups SET name = $1 WHERE id = $2", name, group_id):
            raise NotFound("this group was removed meanwhile; reload the page")
        await db.execute("DELETE FROM group_members WHERE group_id = $1", group_id)
        await _fill(db, group_id, members)


async def delete(db: Database, group_id: str) -> None:
    """Remove it with its grants, its keys and its budgets. Nothing happens when there is none."""
    await db.execute("DELETE FROM groups WHERE id = $1", group_id)


async def _fill(db: Database, group_id: str, members: Collection[str]) -> None:
    for user_id in sorted(members):
        await db.execute("INSERT INTO group_members (group_id, user_id) VALUES ($1, $2)", group_id, user_id)
