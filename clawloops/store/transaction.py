"""Transactions that behave alike on every driver: owned by one task, nested by savepoint, undone even on cancellation.

Rules that callers may rely on, whichever database is behind:
- A block belongs to the task that opened it. The same task may open blocks inside it (savepoints); another task waits
  or gets another connection. A task that waits in its block for *another* task that uses the database waits for ever.
- After a statement failed, the block it stands in can only be left by its exception: PostgreSQL would refuse every
  further statement and turn COMMIT into ROLLBACK without an error, so that is made an error on both.
- Whatever leaves a block other than its end, CancelledError included, undoes it before the connection is used again.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from clawloops.errors import Conflict
from clawloops.finishing import finish

Row = Mapping[str, Any]
C = TypeVar("C")


@dataclass(slots=True)
class _Block(Generic[C]):
    connection: C
    depth: int = 0
    failed: bool = False

    def check(self) -> None:
        if self.failed:
            raise Conflict("an earlier step of this change failed, so nothing of it was kept; reload and try again")


class SqlDatabase(ABC, Generic[C]):
    """A database whose driver has connections of type `C`. Drivers supply the six methods below."""

    dialect: ClassVar[str]
    begin: ClassVar[str] = "BEGIN"

    def __init__(self) -> None:
        self._blocks: dict[asyncio.Task[Any], _Block[C]] = {}

    @abstractmethod
    async def _acquire(self) -> C: ...

    @abstractmethod
    async def _release(self, connection: C) -> None:
        """Give it back, to its end even when the caller is cancelled meanwhile."""

    @abstractmethod
    async def _fetch(self, connection: C, sql: str, args: tuple[Any, ...]) -> list[Row]: ...

    @abstractmethod
    async def _execute(self, connection: C, sql: str, args: tuple[Any, ...]) -> int: ...

    @abstractmethod
    async def _roll_back(self, connection: C) -> None:
        """Undo all that is open, whatever state the connection is in. Never raises."""

    @abstractmethod
    async def close(self) -> None:
        """Wait for what is running, then let go of the database."""

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        """All rows of one statement ($1 placeholders). Raises Conflict for a broken constraint, Unavailable."""
        async with self._statement() as connection:
            return await self._fetch(connection, sql, args)

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        """The first row, or None. Raises as `fetch`."""
        rows = await self.fetch(sql, *args)
        return rows[0] if rows else None

    async def execute(self, sql: str, *args: Any) -> int:
        """Number of rows changed (rows that fell by a cascade are not counted). Raises as `fetch`."""
        async with self._statement() as connection:
            return await self._execute(connection, sql, args)

    @contextlib.asynccontextmanager
    async def _statement(self) -> AsyncIterator[C]:
        block = self._blocks.get(_this_task())
        if block is None:
            connection = await self._acquire()
            try:
                yield connection
            finally:
                await self._release(connection)
            return
        block.check()
        try:
            yield block.connection
        except BaseException:
            block.failed = True
            raise

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing. Raises Conflict at its end when a statement in it failed and its error was swallowed."""
        task = _this_task()
        if outer := self._blocks.get(task):
            async with self._savepoint(outer):
                yield
            return
        connection = await self._acquire()
        try:
            await self._execute(connection, self.begin, ())
            block = self._blocks[task] = _Block(connection)
            yield
            block.check()
            await finish(self._execute(connection, "COMMIT", ()))
        except BaseException:
            await finish(self._roll_back(connection))
            raise
        finally:
            self._blocks.pop(task, None)
            await self._release(connection)

    @contextlib.asynccontextmanager
    async def _savepoint(self, block: _Block[C]) -> AsyncIterator[None]:
        block.check()
        name = f"nested_{block.depth}"
        block.failed = True  # until the savepoint stands: a cancellation here leaves unknown what the database did
        await self._execute(block.connection, f"SAVEPOINT {name}", ())
        block.failed = False
        block.depth += 1
        try:
            yield
            block.check()
        except BaseException:
            block.failed = True  # stays so where the database gave up the whole transaction
            await finish(self._back_to(block.connection, name))
            block.failed = False
            raise
        else:
            block.failed = True  # until it is released; who is cancelled meanwhile leaves by that cancellation
            await finish(self._execute(block.connection, f"RELEASE SAVEPOINT {name}", ()))
            block.failed = False
        finally:
            block.depth -= 1

    async def _back_to(self, connection: C, name: str) -> None:
        await self._execute(connection, f"ROLLBACK TO SAVEPOINT {name}", ())
        await self._execute(connection, f"RELEASE SAVEPOINT {name}", ())


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("the database is used from inside a task only")
    return task
