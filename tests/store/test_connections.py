"""Connections on both databases: sealed for their row, their owner and where they lead, and changed once at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.errors import Conflict, SetupError
from clawloops.model.connection import Connection, Kind
from clawloops.store import connections, users
from clawloops.store.db import Database
from clawloops.store.seal import Sealer, check_sentinel
from tests.store import rows

SEALER = Sealer(b"k" * 32, install_id="0a1b2c3d")
FAR = Connection("x1", "u-ada", Kind.HTTP, "far", "https://a.example/mcp", True, 1, 1, {"X-Key": "canary"})


@pytest.fixture
async def ada(db: Database) -> None:
    await users.add(db, rows.user())


async def read(db: Database) -> list[Connection]:
    return await connections.of(db, SEALER, "u-ada")


@pytest.mark.usefixtures("ada")
async def test_what_is_written_is_read_and_a_change_counts_once(db: Database) -> None:
    await connections.add(db, SEALER, FAR)
    assert await read(db) == [FAR]
    changed = replace(FAR, name="other", enabled=False, secrets={"X-Key": "another"})
    await connections.put(db, SEALER, changed)
    assert await read(db) == [replace(changed, version=2)]
    with pytest.raises(Conflict, match="changed meanwhile"):
        await connections.put(db, SEALER, FAR)
    with pytest.raises(Conflict):
        await connections.add(db, SEALER, replace(FAR, id="x2", name="other"))
    assert not await connections.delete(db, "x1", "u-ben")
    assert await connections.delete(db, "x1", "u-ada") and await read(db) == []


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(
    "change",
    [
        "target = 'https://b.example/mcp'",
        "target = 'https://[::1/'",
        "kind = 'stdio'",
        "id = 'x2'",
        "version = 2",
        "ciphertext = nonce",
    ],
)
async def test_a_row_that_was_tampered_with_comes_without_its_secrets(db: Database, change: str) -> None:
    await connections.add(db, SEALER, FAR)
    await db.execute(f"UPDATE connections SET {change}")
    (found,) = await read(db)
    assert found.secrets is None


@pytest.mark.usefixtures("ada")
async def test_nobody_is_let_in_by_the_database_alone(db: Database) -> None:
    bot = replace(FAR, kind=Kind.TELEGRAM, target="4242")
    await connections.add(db, SEALER, bot)
    await db.execute("UPDATE connections SET target = '4242 666666'")
    (found,) = await read(db)
    assert found.secrets is None


@pytest.mark.usefixtures("ada")
async def test_secrets_of_one_member_do_not_open_for_another(db: Database) -> None:
    await users.add(db, replace(rows.user(), id="u-ben", login="ben"))
    await connections.add(db, SEALER, FAR)
    await db.execute("UPDATE connections SET user_id = 'u-ben'")
    (found,) = await connections.of(db, SEALER, "u-ben")
    assert found.secrets is None and "canary" not in repr(FAR)


@pytest.mark.usefixtures("ada")
async def test_a_store_with_connections_alone_is_not_taken_by_another_master_key(db: Database) -> None:
    await connections.add(db, SEALER, FAR)
    with pytest.raises(SetupError, match="lost the proof"):
        await check_sentinel(db, SEALER)
