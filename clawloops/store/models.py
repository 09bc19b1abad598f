"""Rows of the models that members may name; at most one is the default (an index sees to it)."""

from __future__ import annotations

from clawloops.errors import NotFound
from clawloops.model.provider import Model
from clawloops.store.db import Database, Row

_COLUMNS = "id, name, backend_id, upstream, context_window, max_tokens, is_default, created_at"


def _model(row: Row) -> Model:
    return Model(**{**row, "is_default": bool(row["is_default"])})


async def add(db: Database, model: Model) -> None:
    """Raises Conflict when the name is taken, the backend is gone, or there is another default."""
    await db.execute(
        f"INSERT INTO models ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        model.id,
        model.name,
        model.backend_id,
        model.upstream,
        model.context_window,
        model.max_tokens,
        model.is_default,
        model.created_at,
    )


async def all(db: Database) -> list[Model]:
    """The default first, then by name."""
    models = [_model(row) for row in await db.fetch(f"SELECT {_COLUMNS} FROM models")]
    return sorted(models, key=lambda model: (not model.is_default, model.name))  # here: databases collate differently


async def by_name(db: Database, name: str) -> Model | None:
    """The exact name, case and all."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM models WHERE name = $1", name)
    return _model(row) if row else None


async def delete(db: Database, model_id: str) -> None:
    await db.execute("DELETE FROM models WHERE id = $1", model_id)


async def set_default(db: Database, model_id: str) -> None:
    """Make it the one default. Raises NotFound, and then the default is what it was."""
    async with db.transaction():
        await db.execute("UPDATE models SET is_default = FALSE WHERE is_default AND id <> $1", model_id)
        if not await db.execute("UPDATE models SET is_default = TRUE WHERE id = $1", model_id):
            raise NotFound("there is no such model; reload the page")
