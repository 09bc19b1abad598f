"""What the rest of the floor knows of a database: five methods, and one SQL text for SQLite and PostgreSQL alike."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from clawloops.errors import SetupError
from clawloops.store.postgres import open_postgres
from clawloops.store.sqlite import open_sqlite
from clawloops.store.transaction import Row

__all__ = ["Database", "Row", "open_database", "rows_of"]


class Database(Protocol):
    """Placeholders are `$1`, `$2` …; a broken constraint is Conflict, an unreachable database Unavailable."""

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""

    async def fetch(self, sql: str, *args: Any) -> list[Row]: ...

    async def fetchrow(self, sql: str, *args: Any) -> Row | None: ...

    async def execute(self, sql: str, *args: Any) -> int:
        """Number of rows changed. With RETURNING, use `fetch`."""

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """All or nothing; see `clawloops/store/transaction.py` for what callers may rely on."""

    async def close(self) -> None: ...


def rows_of(count: int, width: int) -> str:
    """Placeholders of that many rows: ($1, $2), ($3, $4)."""
    rows = (range(row * width + 1, (row + 1) * width + 1) for row in range(count))
    return ", ".join("(" + ", ".join(f"${number}" for number in row) + ")" for row in rows)


async def open_database(url: str, *, password: str | None = None, wait_s: float = 0) -> Database:
    """Open `sqlite:///PATH` or `postgresql://USER@HOST/NAME`; nothing is migrated.

    `wait_s`: how many seconds a PostgreSQL server that is just starting is given. Raises SetupError with the next step.
    """
    scheme, found, rest = url.partition("://")
    match scheme if found else "":
        case "sqlite":
            path = Path(rest.removeprefix("/"))
            if not path.is_absolute() or path.name == "":
                raise SetupError(
                    "the database address must hold a full path: sqlite:////var/lib/clawloops/clawloops.db"
                )
            return await open_sqlite(path)
        case "postgresql" | "postgres":
            return await open_postgres(url, password=password, wait_s=wait_s)
        case _:
            raise SetupError("the database address must begin with sqlite:/// or postgresql://")
