"""One control plane at a time works on the same data: a second one waits, and takes over when the first is dead.

Two locks, because the data is in two places. A flock on DATA/leader.lock (and beside a SQLite file kept elsewhere) ends
with the process that holds it, never before: on one machine there are never two leaders. PostgreSQL may also be shared
from two machines, so there a session-level advisory lock is taken as well. That one can be lost while its holder lives;
how soon either side notices is what the times below are about (docs/decisions/0011).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from clawloops.errors import SetupError
from clawloops.store.postgres import open_session

_log = logging.getLogger(__name__)

POLL_S = 0.25
SAY_EVERY_S = 60
PROBE_EVERY_S = 2
PROBE_S = 8  # a box that boots many workspaces answers late; an ended connection is noticed at once, without a probe
SETTLE_S = 3  # whoever takes over a lock that a living process may have lost gives it this long to notice and end
# The server gives up a silent client later than the client gives up the server (PROBE_EVERY_S + PROBE_S).
SERVER_SIDE = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
# Two numbers: another key space than that of the migrations' lock. The schema is part of what "the same data" means.
_TRY = "SELECT pg_try_advisory_lock(1818583654, hashtext(coalesce(current_schema(), '')))"
_HOLDER = """SELECT activity.application_name FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND classid = 1818583654
    AND objid::bigint = hashtext(coalesce(current_schema(), ''))::bigint & 4294967295 AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_SERVER_AGE = "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float"
_BROKEN = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@contextlib.asynccontextmanager
async def lead(
    url: str, *, data: Path, password: str | None = None, wait_s: float = 0, on_lost: Callable[[str], object]
) -> AsyncIterator[None]:
    """Wait, for ever if need be, until nobody else works on `data` and the database at `url`; hold both for the block.

    `on_lost` is called once, with the reason, when another may take over although this process lives: it must end the
    process at once, without a clean-up. `wait_s`: how long a PostgreSQL that does not answer is tried.
    Raises SetupError when a lock cannot be had at all.
    """
    me = f"clawloops pid {os.getpid()} on {socket.gethostname()[:24]} ({secrets.token_hex(4)})"
    async with contextlib.AsyncExitStack() as stack:
        files: dict[Path, int] = {}
        dead: set[str] = set()  # who held a flock that is ours now
        for path in _lock_files(url, data):
            files[path], before = await _flocked(path, me)
            stack.callback(os.close, files[path])
            dead.add(before)
        session = None
        if url.startswith(("postgresql:", "postgres:")):
            session = await _advised(url, password, wait_s, me=me, dead=dead)
            stack.push_async_callback(_end, session)
        watch = asyncio.create_task(_watch(files, session, on_lost), name="leadership")
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)


class _Wait:
    """Says who is waited for: at once, when it is another one, and every minute."""

    def __init__(self) -> None:
        self._said: tuple[str, float] | None = None

    async def on(self, holder: str, lock: str) -> None:
        now = time.monotonic()
        if self._said is None or self._said[0] != holder or now - self._said[1] >= SAY_EVERY_S:
            self._said = holder, now
            _log.warning("waiting: %s leads already and holds %s; this one takes over when that one ends", holder, lock)
        await asyncio.sleep(POLL_S)


# --- the file ------------------------------------------------------------------------------------------------------


def _lock_files(url: str, data: Path) -> list[Path]:
    """In one order for everybody, so that no two processes wait for each other."""
    locks = {data.resolve() / "leader.lock"}
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and (file := Path(rest.removeprefix("/")).resolve()).parent != data.resolve():
        locks.add(file.with_name(file.name + ".leader.lock"))
    return sorted(locks)


async def _flocked(path: Path, me: str) -> tuple[int, str]:
    """The locked file, open, and the name that its last holder left in it."""
    wait = _Wait()
    while True:
        try:
            handle, name = _try_flock(path)
            if handle is not None:
                _sign(handle, path, me)
                return handle, name
        except OSError as error:
            raise SetupError(
                f"the lock file {path} cannot be used ({error.strerror}); check the folder, its owner, and that it is "
                "on a local disk"
            ) from error
        await wait.on(name or "another control plane", str(path))


def _try_flock(path: Path) -> tuple[int | None, str]:
    """The handle when nobody else has the lock, and the name in the file."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        name = os.pread(handle, 200, 0).decode(errors="replace").strip()
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, path):
            return handle, name
    except BlockingIOError:
        os.close(handle)
        return None, name
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)  # the file was replaced meanwhile: the lock of one that nobody finds is worth nothing
    return None, ""


def _sign(handle: int, path: Path, me: str) -> None:
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{me}\n".encode(), 0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _log.warning("%s cannot name its holder (%s); free some disk space there", path, error.strerror)


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


async def _advised(url: str, password: str | None, wait_s: float, *, me: str, dead: Collection[str]) -> Any:
    """A session that holds the advisory lock."""
    wait, rivals = _Wait(), False
    while True:
        session = await open_session(
            url, password=password, wait_s=wait_s, settings={**SERVER_SIDE, "application_name": me}
        )
        try:
            while not await session.fetchval(_TRY, timeout=PROBE_S):
                holder = await session.fetchval(_HOLDER, timeout=PROBE_S)
                rivals = rivals or holder not in dead
                await wait.on(holder or "another control plane", "PostgreSQL's lock")
            await _settle(session, rivals=rivals)
        except BaseException as error:
            session.terminate()
            if not isinstance(error, _BROKEN):
                raise
            rivals = True
            _log.warning("PostgreSQL went away (%s) while this one waited to lead; trying again", type(error).__name__)
            await asyncio.sleep(POLL_S)
        else:
            return session


async def _settle(session: Any, *, rivals: bool) -> None:
    """Let SETTLE_S pass since the moment when another process may have lost the lock without being dead."""
    # A server that has just started forgot every lock, also that of a leader who is about to notice.
    rest = SETTLE_S if rivals else SETTLE_S - await session.fetchval(_SERVER_AGE, timeout=PROBE_S)
    if rest > 0:
        await asyncio.sleep(min(rest, SETTLE_S))
        await session.fetchval("SELECT 1", timeout=PROBE_S)


async def _end(session: Any) -> None:
    try:
        await session.close(timeout=2)
    except _BROKEN:
        session.terminate()


# --- while it leads ------------------------------------------------------------------------------------------------


async def _watch(files: dict[Path, int], session: Any, on_lost: Callable[[str], object]) -> None:
    try:
        reason = await _until_lost(files, session)
    except Exception as error:  # noqa: BLE001  # what cannot be watched cannot be promised
        reason = f"the locks cannot be watched ({error})"
    on_lost(reason)


async def _until_lost(files: dict[Path, int], session: Any) -> str:
    """The reason: at once when the connection ends, else at the probe that fails."""
    ended = asyncio.Event()
    if session is not None:
        session.add_termination_listener(lambda _: ended.set())
        if session.is_closed():
            ended.set()
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBE_EVERY_S):
                await ended.wait()
        if ended.is_set():
            return "PostgreSQL ended the connection that held the lock"
        for path, handle in files.items():
            if not _is_at(handle, path):
                return f"the lock file {path} was removed or replaced"
        if session is not None:
            try:
                await session.fetchval("SELECT 1", timeout=PROBE_S)
            except _BROKEN as error:
                return f"PostgreSQL does not answer where the lock is held ({type(error).__name__})"
