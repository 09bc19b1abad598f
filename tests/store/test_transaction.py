"""Transactions keep their promise on both databases: all or nothing, one task's own, undone even on cancellation."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from clawloops.errors import Conflict, Unavailable
from clawloops.store import meta
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from clawloops.store.sqlite import placeholders


async def keys(db: Database) -> list[str]:
    return sorted(row["key"] for row in await db.fetch("SELECT key FROM meta"))


async def test_placeholders_bind_by_number_and_may_repeat(db: Database) -> None:
    await meta.put(db, "a", "one")
    row = await db.fetchrow("SELECT value FROM meta WHERE value <> $2 AND key = $1 AND key = $1", "a", "two")
    assert row == {"value": "one"}
    row = await db.fetchrow("SELECT '$1 it''s' AS text, value FROM meta WHERE key = $1", "a")
    assert row == {"text": "$1 it's", "value": "one"}


def test_a_dollar_inside_a_literal_or_comment_is_left_alone() -> None:
    sql = "SELECT '$1', 'it''s $2', $12 -- $3\n, $1"
    assert placeholders(sql) == "SELECT '$1', 'it''s $2', ?12 -- $3\n, ?1"


async def test_execute_counts_the_rows_it_changed(db: Database) -> None:
    assert await db.execute("INSERT INTO meta (key, value) VALUES ('a', ''), ('b', '')") == 2
    assert await db.execute("UPDATE meta SET value = $1", "x") == 2
    assert await db.execute("DELETE FROM meta WHERE key = $1", "none") == 0
    assert await db.execute("CREATE TABLE extra (n BIGINT)") == 0


async def test_a_finished_block_is_kept_by_the_next_connection(db: Database, url: str) -> None:
    async with db.transaction():
        await meta.put(db, "a", "1")
        await meta.put(db, "b", "1")
    second = await open_database(url)
    assert await keys(second) == ["a", "b"]
    await second.close()


async def test_an_error_undoes_the_whole_block_and_the_next_one_works(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction():
            await meta.put(db, "a", "1")
            raise ZeroDivisionError
    assert await keys(db) == []
    async with db.transaction():
        await meta.put(db, "b", "1")
    assert await keys(db) == ["b"]


async def test_cancellation_undoes_the_block_wherever_it_strikes(db: Database) -> None:
    async def write() -> None:
        async with db.transaction():
            await meta.put(db, "a", "1")
            async with db.transaction():
                await meta.put(db, "b", "1")
            await meta.put(db, "c", "1")

    outcomes = set()
    for turns in range(120):
        task = asyncio.create_task(write())
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns % 3 == 2:
            await asyncio.sleep(turns / 40_000)
        task.cancel()
        if turns % 2:  # a second cancellation while the first one is being undone
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None, "another error took the place of the cancellation"
        kept = await keys(db)
        assert kept in ([], ["a", "b", "c"])
        outcomes.add(bool(kept))
        await db.execute("DELETE FROM meta")
    assert False in outcomes


async def test_a_cancelled_block_that_waits_is_undone_at_once(db: Database) -> None:
    inside = asyncio.Event()

    async def write() -> None:
        async with db.transaction():
            await meta.put(db, "a", "1")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        async with db.transaction():
            await meta.put(db, "b", "1")
    assert await keys(db) == ["b"]


async def test_a_time_limit_inside_a_statement_leaves_a_usable_database(db: Database) -> None:
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT count(*) FROM n"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02), db.transaction():
            await meta.put(db, "a", "1")
            await db.fetch(slow)
    assert await keys(db) == []


async def test_a_nested_block_fails_alone_when_its_error_is_caught(db: Database) -> None:
    async with db.transaction():
        await meta.put(db, "outer", "1")
        with pytest.raises(Conflict):
            async with db.transaction():
                await meta.put(db, "inner", "1")
                await db.execute("INSERT INTO meta (key, value) VALUES ('outer', '2')")
        await meta.put(db, "after", "1")
        async with db.transaction(), db.transaction():
            await meta.put(db, "deep", "1")
    assert await keys(db) == ["after", "deep", "outer"]


async def test_a_nested_block_falls_with_its_outer_one(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction():
            async with db.transaction():
                await meta.put(db, "inner", "1")
            raise ZeroDivisionError
    assert await keys(db) == []


async def test_a_swallowed_failure_cannot_be_committed(db: Database) -> None:
    with pytest.raises(Conflict, match="earlier step"):
        async with db.transaction():
            await meta.put(db, "a", "1")
            with pytest.raises(Conflict):
                await db.execute("INSERT INTO meta (key, value) VALUES ('a', '2')")
            with pytest.raises(Conflict, match="earlier step"):
                await db.fetch("SELECT 1")
    assert await keys(db) == []


async def test_two_tasks_see_nothing_of_each_others_unfinished_blocks(db: Database) -> None:
    wrote, read = asyncio.Event(), asyncio.Event()

    async def writer() -> None:
        async with db.transaction():
            await meta.put(db, "a", "1")
            wrote.set()
            await asyncio.wait([asyncio.create_task(read.wait())], timeout=0.1)
            raise ZeroDivisionError

    async def reader() -> list[str]:
        await wrote.wait()
        seen = await keys(db)  # SQLite: waits until the block is over; PostgreSQL: has a connection of its own
        read.set()
        return seen

    failed, seen = await asyncio.gather(writer(), reader(), return_exceptions=True)
    assert isinstance(failed, ZeroDivisionError)
    assert seen == []


async def test_concurrent_blocks_do_not_interleave(db: Database) -> None:
    await meta.put(db, "count", "0")

    async def raise_by_one(n: int) -> None:
        async with db.transaction():
            await db.execute("UPDATE meta SET value = value WHERE key = 'count'")  # takes the row's lock
            before = int(await meta.get(db, "count") or 0)
            await asyncio.sleep(0)
            await meta.put(db, "count", str(before + 1))
            if n % 5 == 0:
                raise ZeroDivisionError

    outcomes = await asyncio.gather(*(raise_by_one(n) for n in range(30)), return_exceptions=True)
    assert sum(each is None for each in outcomes) == 24
    assert await meta.get(db, "count") == "24"


async def test_a_child_task_is_not_inside_its_parents_block(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction():
            await meta.put(db, "parent", "1")
            child = asyncio.create_task(meta.put(db, "child", "1"))
            await asyncio.sleep(0.01)
            raise ZeroDivisionError
    await child
    assert await keys(db) == ["child"]


async def test_more_tasks_than_connections_all_get_their_turn(db: Database) -> None:
    async def write(n: int) -> None:
        async with db.transaction():
            await meta.put(db, f"k{n:02}", "1")
            await asyncio.sleep(0.001)

    await asyncio.gather(*(write(n) for n in range(40)))
    assert len(await keys(db)) == 40


async def test_a_mistake_in_the_sql_is_not_dressed_up_as_a_conflict(db: Database) -> None:
    with pytest.raises((sqlite3.OperationalError, asyncpg.PostgresSyntaxError)):
        await db.fetch("SELEKT 1")
    with pytest.raises((sqlite3.OperationalError, asyncpg.UndefinedTableError)):
        await db.fetch("SELECT 1 FROM nowhere")


async def test_a_closed_database_says_unavailable_and_closes_twice(url: str, tmp_path: Path) -> None:
    db = await open_database(url)
    await migrate(db, backup_dir=tmp_path)
    await db.close()
    with pytest.raises(Unavailable):
        await meta.put(db, "a", "1")
    with pytest.raises(Unavailable):
        async with db.transaction():
            pass
    await db.close()


WRITER = """
import asyncio, sys
from clawloops.store import meta
from clawloops.store.db import open_database

async def main() -> None:
    db = await open_database(sys.argv[1])
    for n in range(100_000):
        async with db.transaction():
            await meta.put(db, f"left{n}", "1")
            await meta.put(db, f"right{n}", "1")
        print(n, flush=True)

asyncio.run(main())
"""


async def test_kill_9_keeps_every_finished_block_whole_and_no_unfinished_one(db: Database, url: str) -> None:
    for goal in (3, 11, 24):
        await db.execute("DELETE FROM meta")
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, url, stdout=asyncio.subprocess.PIPE)
        assert writer.stdout is not None
        last = -1
        while last < goal:
            last = int(await writer.stdout.readline())
        writer.kill()
        rest = (await writer.communicate())[0].split()
        last = int(rest[-1]) if rest else last
        kept = set(await keys(db))
        assert {f"{side}{n}" for n in range(last + 1) for side in ("left", "right")} <= kept
        assert len(kept) % 2 == 0
        assert {key.replace("left", "right") for key in kept} == {key for key in kept if key.startswith("right")}
        if db.dialect == "sqlite":
            assert await db.fetch("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
