"""A settled call survives `kill -9`, a torn line harms only itself, and a reader never sees half a record."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from clawloops.control.ledger import Ledger
from clawloops.gateway.journal import Journal, Record
from clawloops.model.usage import LOST, Call, Opened, Progress, Tokens
from clawloops.store import usage_days
from clawloops.store.db import open_database
from clawloops.store.migrate import migrate
from tests.gateway.gate import TOKEN
from tests.gateway.killable import start
from tests.upstream import Upstream

KILLS = 50
CALLERS = 6


def _call(number: int) -> Call:
    tokens = Tokens(number, number + 1, number + 2, number + 3)
    model = "größer\n" if number % 2 else "small"
    first = None if number % 3 else 5
    return Call(f"{number:032x}", 1_700_000_000_000 + number, "u", "r", model, "b", tokens, 200, first, 7)


def _read(journal: Journal, offset: int = 0) -> tuple[list[Record], int]:
    """What one read finds there, without where each begins."""
    found, after = journal.read_from(offset)
    return [record for _, record in found], after


def _all(journal: Journal) -> list[Record]:
    found: list[Record] = []
    offset = 0
    while True:
        records, after = _read(journal, offset)
        if after == offset:
            return found
        found.extend(records)
        offset = after


OPENED = Opened("c" * 32, 1_700_000_000_000, "u", "r", "", "small", "b", 40, 120, 1, is_background=True)
PROGRESS = Progress(OPENED.id, "b2", 7, 141, 1_000, 900, 75)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.journal"


def test_what_is_appended_is_read_once_from_each_offset(path: Path) -> None:
    journal = Journal(path)
    for number in range(5):
        journal.append(_call(number))
    calls, offset = _read(journal, 0)
    assert calls == [_call(number) for number in range(5)]
    assert _read(journal, offset) == ([], offset)
    journal.append(_call(5))
    assert _read(journal, offset)[0] == [_call(5)]
    assert _read(Journal(path), offset)[0] == [_call(5)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_kind_of_record_comes_back_as_it_went_in(path: Path) -> None:
    journal = Journal(path)
    settled = replace(_call(1), key_id="k", queue_ms=3, held_ms=4, cost=5, energy_mwh=6, images=7, is_background=True)
    for record in (OPENED, PROGRESS, settled):
        journal.append(record)
    found, _ = journal.read_from(0)
    assert [record for _, record in found] == [OPENED, PROGRESS, settled]
    assert [journal.read_from(at)[0][0][1] for at, _ in found] == [OPENED, PROGRESS, settled]


def test_a_record_that_is_being_written_is_left_for_the_next_read(path: Path) -> None:
    journal = Journal(path)
    journal.append(_call(1))
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(whole[:30])
    assert _read(journal, 0) == ([_call(1)], len(whole))


@pytest.mark.parametrize("kept", [1, 3, 4, 30, -1])
def test_a_torn_last_line_is_skipped_and_harms_no_later_record(path: Path, kept: int) -> None:
    Journal(path).append(_call(1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    journal = Journal(path)
    journal.append(_call(2))
    calls, offset = _read(journal, 0)
    assert [call for call in calls if call != _call(1)] == [_call(2)]
    assert len(calls) == 2 + (kept == -1)  # torn just before its newline, the record itself is whole
    assert offset == path.stat().st_size


def test_a_file_larger_than_one_read_is_read_to_its_end(path: Path) -> None:
    journal = Journal(path)
    journal.append(_call(0))
    path.write_bytes(path.read_bytes() * 30_000)
    journal = Journal(path)
    journal.append(_call(1))
    assert len(_all(journal)) == 30_001


def test_a_file_that_was_replaced_is_read_from_its_start(path: Path) -> None:
    journal = Journal(path)
    journal.append(_call(1))
    assert _read(journal, 10_000)[0] == [_call(1)]


def test_a_record_that_does_not_fit_is_an_error_and_the_next_one_is_whole(path: Path) -> None:
    journal = Journal(path)
    journal.append(_call(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
    try:
        with pytest.raises(OSError, match="free disk space"):
            journal.append(_call(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    journal.append(_call(3))
    assert _read(journal, 0)[0] == [_call(1), _call(3)]


async def _ask_forever(url: str, *, streamed: bool, done: list[int]) -> None:
    body = {"model": "small", "messages": [], "stream": streamed}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        while True:
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                await (answer.content.readuntil(b"[DONE]") if streamed else answer.read())
                done[0] += 1  # a caller waits for no more
                await answer.read()


@pytest.mark.faults
@pytest.mark.limit(200)
async def test_killing_the_gateway_loses_no_call(upstream: Upstream, path: Path) -> None:
    """Whatever the upstream was asked is in the ledger once: settled, or charged as far as it was seen."""
    done = [0]
    for kill in range(KILLS):
        process, url = await start(upstream, path)
        asking = [
            asyncio.create_task(_ask_forever(url, streamed=bool(number % 2), done=done)) for number in range(CALLERS)
        ]
        await asyncio.sleep(0.15 + 0.01 * kill)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        for each in asking:
            each.cancel()
            with suppress(aiohttp.ClientError, asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
                await each
    db = await open_database(f"sqlite:///{path.parent}/ledger.db")
    await migrate(db, backup_dir=path.parent)
    journal = Journal(path)
    lost_calls = await Ledger(db, journal).settle_lost()
    calls = [record for record in _all(journal) if isinstance(record, Call)]
    total = await usage_days.total(db, range(2**30), None)
    await db.close()
    journal.close()
    served = [call for call in calls if call.status == 200]
    lost = [call for call in calls if call.status == LOST]
    assert done[0] > 50
    assert done[0] <= len(served) <= len(upstream.seen)
    assert len(served) - done[0] <= KILLS * CALLERS  # settled, and killed before the caller had it
    assert {call.tokens for call in served} == {Tokens(11, 5, 4, 1)}
    assert total.calls == len(calls) == len({call.id for call in calls})
    assert len(upstream.seen) <= len(calls) <= len(upstream.seen) + KILLS * CALLERS  # opened, and killed before asking
    assert len(lost) == lost_calls <= KILLS * CALLERS
    assert all(call.tokens.output <= 5 and call.tokens.input > 0 for call in lost)
