"""PostgreSQL: a small pool; a task keeps one connection for the length of its transaction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]

from clawloops.errors import Conflict, SetupError, Unavailable
from clawloops.finishing import finish
from clawloops.store.transaction import Row, SqlDatabase

POOL_SIZE = 8
CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 30

# What a server says while it starts, stops or is full, and what a broken connection raises.
_NOT_NOW = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
    asyncpg.InternalClientError,  # the server ended the connection while it was idle
)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Constraint, deadlock, lost race -> Conflict; no server -> Unavailable; a mistake in the SQL stays what it is."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise Conflict(f"this clashes with what is stored already ({_what(error)}); reload and try again") from error
    except asyncpg.TransactionRollbackError as error:
        raise Conflict("somebody else changed this at the same moment; reload and try again") from error
    except (*_NOT_NOW, asyncpg.InterfaceError) as error:
        if isinstance(error, asyncpg.InterfaceError) and not any(word in str(error) for word in ("clos", "released")):
            raise  # a wrong type or number of values is our mistake; a closed connection or pool is not
        kind = type(error).__name__
        raise Unavailable(f"the PostgreSQL server does not answer now ({kind}); check that it runs") from error


def _what(error: asyncpg.IntegrityConstraintViolationError) -> str:
    """`users.login` out of PostgreSQL's own name `users_login_key`: names only, for values may be private."""
    table, name = error.table_name or "", error.constraint_name or error.column_name or ""
    return f"{table}.{name.removeprefix(table + '_').removesuffix('_key')}"


async def _keep(_: Any) -> None:
    """Instead of what asyncpg asks the server for after each use, a second way there and back: nothing is set here."""


def _drop(connection: Any) -> None:
    """End a connection without a word to the server. The pool may have dropped it already when it saw it break."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


class Postgres(SqlDatabase[Any]):
    """`open_postgres` makes one."""

    dialect = "postgresql"

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self._pool = pool
        self.timeout_s: float | None = COMMAND_TIMEOUT_S  # of one statement; None while migrations run

    async def _acquire(self) -> Any:
        with _errors():
            return await self._pool.acquire(timeout=COMMAND_TIMEOUT_S)

    async def _release(self, connection: Any) -> None:
        try:
            await finish(self._pool.release(connection, timeout=CONNECT_TIMEOUT_S))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, *_NOT_NOW):
            _drop(connection)  # a dead one; the pool makes another

    async def _fetch(self, connection: Any, sql: str, args: tuple[Any, ...]) -> list[Row]:
        with _errors():
            return [dict(row) for row in await connection.fetch(sql, *args, timeout=self.timeout_s)]

    async def _execute(self, connection: Any, sql: str, args: tuple[Any, ...]) -> int:
        with _errors():
            status = await connection.execute(sql, *args, timeout=self.timeout_s)
        count = status.rpartition(" ")[2]  # "UPDATE 3"; "INSERT 0 1"; "BEGIN"
        return int(count) if count.isdigit() else 0

    async def _roll_back(self, connection: Any) -> None:
        try:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK", timeout=CONNECT_TIMEOUT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, *_NOT_NOW):
            _drop(connection)  # the server undoes what a lost connection left open

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), COMMAND_TIMEOUT_S)
        except TimeoutError:
            self._pool.terminate()


async def open_postgres(url: str, *, password: str | None = None, wait_s: float = 0) -> Postgres:
    """Connect, trying for `wait_s` seconds while the server starts. Raises SetupError with the next step."""

    def opening() -> Awaitable[Any]:
        pool: Awaitable[Any] = asyncpg.create_pool(
            url, password=password, min_size=1, max_size=POOL_SIZE, timeout=CONNECT_TIMEOUT_S, reset=_keep
        )
        return pool

    return Postgres(await _reach(url, opening, wait_s=wait_s))


async def open_session(url: str, *, password: str | None, wait_s: float, settings: Mapping[str, str]) -> Any:
    """One connection of its own, for what lasts as long as a session. Waits and raises as `open_postgres`."""

    def opening() -> Awaitable[Any]:
        connection: Awaitable[Any] = asyncpg.connect(
            url, password=password, timeout=CONNECT_TIMEOUT_S, server_settings=dict(settings)
        )
        return connection

    return await _reach(url, opening, wait_s=wait_s)


async def _reach(url: str, opening: Callable[[], Awaitable[Any]], *, wait_s: float) -> Any:
    where = urlsplit(url)
    name = f"{where.hostname or 'local socket'}{where.path}"  # never the URL itself: it may hold a password
    until = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            return await opening()
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
            raise SetupError(f"PostgreSQL at {name} refused the user or password; check both settings") from error
        except asyncpg.InvalidCatalogNameError as error:
            raise SetupError(f"PostgreSQL has no database {name}; make it with createdb") from error
        except (asyncpg.ClientConfigurationError, ValueError) as error:
            raise SetupError(
                f"the database address of {name} cannot be read; write postgresql://USER@HOST/NAME"
            ) from error
        except (*_NOT_NOW, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if asyncio.get_running_loop().time() >= until:
                kind = type(error).__name__
                raise SetupError(
                    f"PostgreSQL at {name} does not answer ({kind}); start it or correct the address"
                ) from error
            await asyncio.sleep(0.5)
