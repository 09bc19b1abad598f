"""Rows of the names that members may call, where each leads, and whom it is open to."""

from __future__ import annotations

from collections.abc import Sequence

from clawloops.errors import NotFound
from clawloops.model.provider import Grants, Model, Place
from clawloops.store.db import Database, Row

_COLUMNS = "id, name, context_window, max_tokens, is_default, created_at, is_open"


def _model(row: Row, places: Sequence[Place]) -> Model:
    return Model(
        **{**row, "is_default": bool(row["is_default"]), "is_open": bool(row["is_open"]), "places": tuple(places)}
    )


async def add(db: Database, model: Model) -> None:
    """Raises Conflict when the name is taken, a backend is gone, or there is another default."""
    async with db.transaction():
        await db.execute(
            f"INSERT INTO models ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            *(model.id, model.name, model.context_window, model.max_tokens, model.is_default, model.created_at),
            model.is_open,
        )
        await _lead(db, model.id, model.places)


async def all(db: Database) -> list[Model]:
    """The default first, then by name."""
    return await _read(db, "SELECT * FROM models")


async def open_to(db: Database, user_id: str) -> list[Model]:
    """Those that one member may use, in the same order."""
    return await _read(
        db,
        """SELECT * FROM models WHERE is_open OR EXISTS (
        SELECT 1 FROM grants WHERE grants.model_id = models.id AND (grants.user_id = $1 OR grants.group_id IN (
            SELECT group_id FROM group_members WHERE group_members.user_id = $1)))""",
        user_id,
    )


async def _read(db: Database, query: str, *args: str) -> list[Model]:
    places: dict[str, list[Place]] = {}
    for row in await db.fetch("SELECT model_id, backend_id, upstream FROM places ORDER BY model_id, position"):
        places.setdefault(row["model_id"], []).append(Place(row["backend_id"], row["upstream"]))
    models = [_model(row, places.get(row["id"], ())) for row in await db.fetch(query, *args)]
    return sorted(models, key=lambda model: (not model.is_default, model.name))  # here: databases collate differently


async def change(db: Database, model: Model) -> None:
    """Its name, its size, where it leads, whether it is open. Raises NotFound, and Conflict as `add` does."""
    async with db.transaction():
        changed = await db.execute(
            "UPDATE models SET name = $1, context_window = $2, max_tokens = $3, is_open = $4 WHERE id = $5",
            *(model.name, model.context_window, model.max_tokens, model.is_open, model.id),
        )
        if not changed:
            raise NotFound("this name was removed meanwhile; reload the page")
        await db.execute("DELETE FROM places WHERE model_id = $1", model.id)
        await _lead(db, model.id, model.places)


async def _lead(db: Database, model_id: str, places: Sequence[Place]) -> None:
    for position, place in enumerate(places):
        await db.execute(
            "INSERT INTO places (model_id, position, backend_id, upstream) VALUES ($1, $2, $3, $4)",
            *(model_id, position, place.backend_id, place.upstream),
        )


async def delete(db: Database, model_id: str) -> None:
    await db.execute("DELETE FROM models WHERE id = $1", model_id)


async def delete_homeless(db: Database) -> None:
    """Forget the names that lead nowhere any more."""
    await db.execute("DELETE FROM models WHERE NOT EXISTS (SELECT 1 FROM places WHERE places.model_id = models.id)")


async def set_default(db: Database, model_id: str) -> None:
    """Make it the one default. Raises NotFound, and then the default is what it was."""
    async with db.transaction():
        await db.execute("UPDATE models SET is_default = FALSE WHERE is_default AND id <> $1", model_id)
        if not await db.execute("UPDATE models SET is_default = TRUE WHERE id = $1", model_id):
            raise NotFound("there is no such model; reload the page")


async def grants(db: Database) -> dict[str, Grants]:
    """By model id; read them only for models that are not open."""
    users: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for row in await db.fetch("SELECT model_id, user_id, group_id FROM grants"):
        found, subject = (users, row["user_id"]) if row["group_id"] is None else (groups, row["group_id"])
        found.setdefault(row["model_id"], set()).add(subject)
    return {
        each: Grants(frozenset(users.get(each, ())), frozenset(groups.get(each, ()))) for each in users.keys() | groups
    }


async def grant(db: Database, model_id: str, grants: Grants) -> None:
    """Replace its grants. Raises Conflict when one of them is gone."""
    async with db.transaction():
        await db.execute("DELETE FROM grants WHERE model_id = $1", model_id)
        for user_id in sorted(grants.users):
            await db.execute("INSERT INTO grants (model_id, user_id) VALUES ($1, $2)", model_id, user_id)
        for group_id in sorted(grants.groups):
            await db.execute("INSERT INTO grants (model_id, group_id) VALUES ($1, $2)", model_id, group_id)
