"""Every store test runs on a SQLite file and on a real PostgreSQL, started once; each has a schema of its own there."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from clawloops.bench.postgresql import PASSWORD, Server
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Address (host:port) of a server that lives as long as the test session; user postgres, password PASSWORD."""
    server = Server()
    try:
        server.make()
        server.start()
        yield server.address
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Address of an empty database, its password included."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    server = f"postgresql://postgres:{PASSWORD}@{request.getfixturevalue('postgresql_server')}/postgres"
    schema = f"t_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f"CREATE SCHEMA {schema}")
        yield f"{server}?search_path={schema}"
        await admin.execute(f"DROP SCHEMA {schema} CASCADE")
    finally:
        await admin.close()


@pytest.fixture
async def empty(url: str) -> AsyncIterator[Database]:
    """An open database without tables."""
    db = await open_database(url)
    yield db
    await db.close()


@pytest.fixture
async def db(empty: Database, tmp_path: Path) -> Database:
    """An open database with the schema of today."""
    await migrate(empty, backup_dir=tmp_path / "backups")
    return empty
