"""SQLite: one connection, so that one task at a time speaks to it; a committed change survives a power cut."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiosqlite

from clawloops.durable import put_in_place
from clawloops.errors import Conflict, SetupError, Unavailable
from clawloops.finishing import finish
from clawloops.store.transaction import Row, SqlDatabase

BUSY_TIMEOUT_S = 10  # another program may hold the file for so long
TURN_S = 30  # and our own tasks, each of which may have waited for that program, hold each other up for so long
# A literal or a comment is matched first, so that a "$1" inside it stays as it is.
_PLACEHOLDER = re.compile(r"'(?:[^']|'')*'|--[^\n]*|\$(\d+)")
_NOT_NOW = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


@functools.lru_cache(maxsize=512)
def placeholders(sql: str) -> str:
    """`$1` becomes `?1`: SQLite takes `$1` for a *name*, numbered by first appearance."""
    return _PLACEHOLDER.sub(lambda found: f"?{found[1]}" if found[1] else found[0], sql)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Constraint -> Conflict; disk full, locked, unreadable -> Unavailable; a mistake in the SQL stays what it is."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        columns = str(error).partition(": ")[2].split(",")[0]  # "UNIQUE constraint failed: users.login"
        what = columns or "a row that another one needs or lacks"
        raise Conflict(f"this clashes with what is stored already ({what}); reload and try again") from error
    except sqlite3.Error as error:
        # The low byte is the error, the rest its variety: https://sqlite.org/rescode.html
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _NOT_NOW:
            raise Unavailable(
                f"the database file cannot be used now ({error}); check its disk and try again"
            ) from error
        raise


class Sqlite(SqlDatabase[aiosqlite.Connection]):
    """`open_sqlite` makes one."""

    dialect = "sqlite"
    begin = "BEGIN IMMEDIATE"  # takes the write lock at once: a read that turns into a write cannot fail half-way

    def __init__(self, path: Path, raw: aiosqlite.Connection) -> None:
        super().__init__()
        self.path = path
        self._raw = raw
        self._turn = asyncio.Lock()
        self._closed = False

    async def _acquire(self) -> aiosqlite.Connection:
        try:
            async with asyncio.timeout(TURN_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"the database file has been busy for {TURN_S} s; check its disk and try again"
            ) from error
        if self._closed:
            self._turn.release()
            raise Unavailable("the database is closed, because the program ends; try again when it is back")
        return self._raw

    async def _release(self, connection: aiosqlite.Connection) -> None:
        # Statements run in the order of asking on aiosqlite's one thread, so one whose asker was cancelled is
        # finished before the next task's first statement begins.
        self._turn.release()

    async def _fetch(self, connection: aiosqlite.Connection, sql: str, args: tuple[Any, ...]) -> list[Row]:
        with _errors():
            rows = await connection.execute_fetchall(placeholders(sql), args)
        names = next(iter(rows)).keys() if rows else ()  # a Row that is asked by name compares them one by one
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def _execute(self, connection: aiosqlite.Connection, sql: str, args: tuple[Any, ...]) -> int:
        with _errors():
            async with connection.execute(placeholders(sql), args) as cursor:
                return max(0, cursor.rowcount)

    async def _roll_back(self, connection: aiosqlite.Connection) -> None:
        with contextlib.suppress(sqlite3.Error, ValueError):  # ValueError: closed, and so undone
            await connection.rollback()

    async def close(self) -> None:
        async with self._turn:
            if not self._closed:
                self._closed = True
                await finish(self._raw.close())

    async def is_whole(self) -> bool:
        """Whether every page of it can be read and fits the others. Of a large one this takes seconds."""
        try:
            found = await self.fetch("PRAGMA integrity_check")
        except sqlite3.DatabaseError:
            return False
        return [list(row.values()) for row in found] == [["ok"]]

    async def back_up(self, to: Path) -> None:
        """Write a consistent copy (SQLite's backup API, so the write-ahead log is in it), mode 0600, by rename.

        It reads by a connection of its own: the store goes on meanwhile, and what is written then is not in the copy.
        Raises SetupError when the copy cannot be written or does not read back whole.
        """
        part = to.with_name(to.name + ".part")
        try:
            part.unlink(missing_ok=True)
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            async with (
                aiosqlite.connect(self.path, isolation_level=None, timeout=BUSY_TIMEOUT_S) as source,
                aiosqlite.connect(part, isolation_level=None) as copy,
            ):
                await source.backup(copy)
                await copy.execute_fetchall("PRAGMA journal_mode = DELETE")  # one file, with no log beside it
                checked = list(await copy.execute_fetchall("PRAGMA integrity_check"))
            if [row[0] for row in checked] != ["ok"]:
                raise SetupError(f"the copy of {self.path} is damaged ({checked[0][0]}); restore the last good backup")
            await asyncio.to_thread(put_in_place, part, to)
        except (OSError, sqlite3.Error) as error:
            part.unlink(missing_ok=True)
            raise SetupError(
                f"{self.path} cannot be backed up to {to} ({error}); free some disk space there"
            ) from error


def _make_private(path: Path) -> None:
    # Never open and close a file that is there: that would drop the locks of this program's other connections to it.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError("not a file that can be read and written") from None


async def _set_up(path: Path, raw: aiosqlite.Connection) -> None:
    mode = [tuple(row) for row in await raw.execute_fetchall("PRAGMA journal_mode = WAL")]
    if mode != [("wal",)]:
        raise SetupError(f"{path} lies on a file system without shared memory maps; move it to a local disk")
    await raw.execute_fetchall("PRAGMA synchronous = FULL")
    await raw.execute_fetchall("PRAGMA foreign_keys = ON")


async def open_sqlite(path: Path) -> Sqlite:
    """Open or make the file, mode 0600. Raises SetupError with the next step."""
    raw: aiosqlite.Connection | None = None
    try:
        _make_private(path)
        opening = aiosqlite.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S, cached_statements=256)
        # aiosqlite's thread would keep a program that failed from ending, and so from being started again.
        opening._thread.daemon = True
        raw = await opening
        raw.row_factory = sqlite3.Row
        await _set_up(path, raw)
    except BaseException as error:
        if raw is not None:
            await raw.close()
        match error:
            case sqlite3.DatabaseError() if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
                raise SetupError(f"{path} is not a SQLite database; move it away, or restore a backup") from error
            case OSError() | sqlite3.Error():
                raise SetupError(
                    f"the database {path} cannot be opened ({error}); check the folder and its owner"
                ) from error
        raise
    return Sqlite(path, raw)
