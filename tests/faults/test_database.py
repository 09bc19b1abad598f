"""Another program holds the database file for longer than anybody should: wishes wait or are refused, none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawloops.control.audit import Audit
from clawloops.control.runtimes import Runtimes
from clawloops.errors import Unavailable
from clawloops.model.account import User
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.store import users
from tests.standin.place import Place

pytestmark = [pytest.mark.docker, pytest.mark.faults]


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """Another connection has the write lock for the block."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def hold(file: Path, seconds: float) -> threading.Thread:
    """As another program would: from a thread of its own. Returns once the lock is held."""
    begun = threading.Event()

    def run() -> None:
        with held(file):
            begun.set()
            time.sleep(seconds)

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    return thread


async def owner(place: Place, runtime: Runtime) -> User:
    user = await users.get(place.db, runtime.owner)
    assert user is not None
    return user


@pytest.mark.parametrize("seconds", [10, 14], ids=["10 s", "longer than anybody waits for it"])
async def test_a_wish_made_while_the_database_is_locked_is_kept_or_refused_and_keepers_survive(
    place: Place, seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    loop = await place.orchestrate()
    up, down = await place.member(), await place.member(Want.STOPPED)
    loop.wake_all()
    await place.until(up, Phase.READY)
    await place.until(down, Phase.STOPPED)
    pool = ipaddress.IPv4Network("10.0.0.0/29")
    service = Runtimes(place.db, Audit(place.db, b"key"), pool=pool, wake=loop.wake)
    mia, olga = await owner(place, up), await owner(place, down)

    thread = hold(Path(place.install.data) / "test.db", seconds)
    await asyncio.to_thread(place.container(up).kill)
    began = time.monotonic()
    answers = await asyncio.gather(
        service.wish(down.id, Want.RUNNING, by=olga), service.wish(up.id, Want.STOPPED, by=mia), return_exceptions=True
    )
    assert time.monotonic() - began < seconds + 10
    refused = [each for each in answers if isinstance(each, BaseException)]
    assert all(isinstance(each, Unavailable) and "try again" in str(each) for each in refused), refused
    assert all(isinstance(each, Runtime) for each in answers) or seconds > 10
    await asyncio.to_thread(thread.join)

    if isinstance(answers[0], Unavailable):
        assert (await place.row(down)).want is Want.STOPPED
        await service.wish(down.id, Want.RUNNING, by=olga)
    await place.until(down, Phase.READY)
    if isinstance(answers[1], Unavailable):
        assert (await place.row(up)).want is Want.RUNNING
        await place.until(up, Phase.READY)
        await service.wish(up.id, Want.STOPPED, by=mia)
    await place.until(up, Phase.STOPPED)
    assert [each.getMessage() for each in caplog.records if each.exc_info or each.levelno >= logging.ERROR] == []
