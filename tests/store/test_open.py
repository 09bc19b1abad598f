"""Opening a database: private and safe where we make it, a plain next step where it cannot be had."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

from clawloops.errors import SetupError, Unavailable
from clawloops.store import meta
from clawloops.store.db import open_database
from clawloops.store.migrate import migrate


async def test_a_sqlite_file_is_made_private_and_kept_safe(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/new.db")
    try:
        await db.execute("CREATE TABLE t (n BIGINT)")
        assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
            "new.db": 0o600,
            "new.db-wal": 0o600,
            "new.db-shm": 0o600,
        }
        settings = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
        for name, value in settings.items():
            row = await db.fetchrow(f"PRAGMA {name}")
            assert row is not None
            assert list(row.values()) == [value]
    finally:
        await db.close()


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("mysql://x", "must begin with"),
        ("", "must begin with"),
        ("sqlite:///clawloops.db", "full path"),
        ("sqlite:///", "full path"),
        ("sqlite:////nowhere/at/all/clawloops.db", "check the folder"),
        ("sqlite:////tmp", "check the folder"),
        ("postgresql://u:canary@127.0.0.1:1/db", "start it or correct the address"),
        ("postgresql://u:canary@127.0.0.1:x/db", "postgresql://USER@HOST/NAME"),
    ],
)
async def test_a_wrong_address_says_what_to_do_and_shows_no_password(url: str, advice: str) -> None:
    with pytest.raises(SetupError, match=advice) as refusal:
        await open_database(url)
    assert "canary" not in str(refusal.value)


async def test_a_wrong_postgresql_password_or_name_says_what_to_do(postgresql_server: str) -> None:
    with pytest.raises(SetupError, match="refused the user or password"):
        await open_database(f"postgresql://postgres@{postgresql_server}/postgres", password="wrong")
    with pytest.raises(SetupError, match="createdb"):
        await open_database(f"postgresql://postgres@{postgresql_server}/none", password="open-sesame")


async def test_a_postgresql_that_starts_late_is_waited_for() -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(SetupError, match="does not answer"):
        await open_database("postgresql://u@127.0.0.1:1/db", wait_s=1)
    assert asyncio.get_running_loop().time() - began >= 1


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("my notes " * 500)
    with pytest.raises(SetupError, match="not a SQLite database"):
        await open_database(f"sqlite:///{path}")
    assert path.read_text() == "my notes " * 500


async def test_a_database_held_by_another_program_is_unavailable_not_lost(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/store.db")
    await migrate(db, backup_dir=tmp_path)
    await db.fetch("PRAGMA busy_timeout = 50")
    with sqlite3.connect(tmp_path / "store.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await meta.put(db, "a", "1")
        with pytest.raises(Unavailable):
            async with db.transaction():
                pass
        other.execute("ROLLBACK")
    await meta.put(db, "a", "1")
    await db.close()


@pytest.mark.parametrize("noticed_after_s", [0, 0.2], ids=["at the call", "before the call"])
async def test_a_lost_connection_is_unavailable_and_the_next_call_works(
    postgresql_server: str, noticed_after_s: float
) -> None:
    url = f"postgresql://postgres@{postgresql_server}/postgres"
    db = await open_database(url, password="open-sesame")
    admin = await open_database(url, password="open-sesame")
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = $1"
    with pytest.raises(Unavailable, match="check that it runs"):
        async with db.transaction():
            await db.fetch("SELECT 1")
            await admin.fetch(kill, "client backend")
            await asyncio.sleep(noticed_after_s)
            await db.fetch("SELECT 1")
    assert await db.fetch("SELECT 1 AS n") == [{"n": 1}]
    await db.close()
    await admin.close()


async def test_a_program_that_fails_with_its_database_open_still_ends(url: str) -> None:
    program = """
import asyncio, sys
from clawloops.store.db import open_database

async def main() -> None:
    db = await open_database(sys.argv[1])
    globals()["kept"] = db
    raise SystemExit(7)

asyncio.run(main())
"""
    failing = await asyncio.create_subprocess_exec(sys.executable, "-c", program, url)
    async with asyncio.timeout(20):
        assert await failing.wait() == 7
