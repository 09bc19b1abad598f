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
    rows = await db.fetch("SELECT id, name, created_at, weight FROM groups ORDER BY created_at, id")
    return [
        Group(row["id"], row["name"], frozenset(members.get(row["id"], ())), row["created_at"], row["weight"])
        for row in rows
    ]


async def add(db: Database, group: Group) -> None:
    """Raises Conflict when the name is taken or a member is gone."""
    async with db.transaction():
        await db.execute(
            "INSERT INTO groups (id, name, created_at, weight) VALUES ($1, $2, $3, $4)",
            *(group.id, group.name, group.created_at, group.weight),
        )
        await _fill(db, group.id, group.members)


async def change(db: Database, group: Group) -> None:
    """Raises NotFound, and Conflict as `add` does."""
    async with db.transaction():
        query = "UPDATE groups SET name = $1, weight = $2 WHERE id = $3"
        if not await db.execute(query, group.name, group.weight, group.id):
            raise NotFound("this group was removed meanwhile; reload the page")
        await db.execute("DELETE FROM group_members WHERE group_id = $1", group.id)
        await _fill(db, group.id, group.members)


async def place(db: Database, user_id: str, *, gained: Collection[str], lost: Collection[str]) -> bool:
    """Put a member into some groups, of those that there are, and out of others; whether that changed anything.

    Raises Conflict when there is no such member.
    """
    changed = 0
    for group_id in sorted(gained):
        changed += await db.execute(
            """INSERT INTO group_members (group_id, user_id) SELECT id, CAST($2 AS TEXT) FROM groups WHERE id = $1
            ON CONFLICT DO NOTHING""",
            *(group_id, user_id),
        )
    for group_id in sorted(lost):
        changed += await db.execute("DELETE FROM group_members WHERE group_id = $1 AND user_id = $2", group_id, user_id)
    return bool(changed)


async def delete(db: Database, group_id: str) -> None:
    """Remove it with its grants, its keys and its budgets. Nothing happens when there is none."""
    await db.execute("DELETE FROM groups WHERE id = $1", group_id)


async def _fill(db: Database, group_id: str, members: Collection[str]) -> None:
    for user_id in sorted(members):
        await db.execute("INSERT INTO group_members (group_id, user_id) VALUES ($1, $2)", group_id, user_id)
