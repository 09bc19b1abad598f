"""A settled call survives `kill -9`, a torn line harms only itself, and a reader never sees half a record."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from clawloops.gateway.journal import Journal
from clawloops.model.usage import Call, Tokens
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


def _all(journal: Journal) -> list[Call]:
    found: list[Call] = []
    offset = 0
    while True:
        calls, after = journal.read_from(offset)
        if after == offset:
            return found
        found.extend(calls)
        offset = after


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.journal"


def test_what_is_appended_is_read_once_from_each_offset(path: Path) -> None:
    journal = Journal(path)
    for number in range(5):
        journal.append(_call(number))
    calls, offset = journal.read_from(0)
    assert calls == [_call(number) for number in range(5)]
    assert journal.read_from(offset) == ([], offset)
    journal.append(_call(5))
    assert journal.read_from(offset)[0] == [_call(5)]
    assert Journal(path).read_from(offset)[0] == [_call(5)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_record_that_is_being_written_is_left_for_the_next_read(path: Path) -> None:
    journal = Journal(path)
    journal.append(_call(1))
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(whole[:30])
    assert journal.read_from(0) == ([_call(1)], len(whole))


@pytest.mark.parametrize("kept", [1, 3, 4, 30, -1])
def test_a_torn_last_line_is_skipped_and_harms_no_later_record(path: Path, kept: int) -> None:
    Journal(path).append(_call(1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    journal = Journal(path)
    journal.append(_call(2))
    calls, offset = journal.read_from(0)
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
    assert journal.read_from(10_000)[0] == [_call(1)]


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
    assert journal.read_from(0)[0] == [_call(1), _call(3)]


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
async def test_killing_the_gateway_loses_no_settled_call(upstream: Upstream, path: Path) -> None:
    """What the kill itself cut is not in the ledger: at most one call of each caller."""
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
    calls = _all(Journal(path))
    served = [call for call in calls if call.status == 200]
    assert done[0] > 50
    assert done[0] <= len(served) <= len(upstream.seen)
    assert len(served) - done[0] <= KILLS * CALLERS  # settled, and killed before the caller had it
    assert len(upstream.seen) - len(calls) <= KILLS * CALLERS
    assert {call.tokens for call in served} == {Tokens(11, 5, 4, 1)}
    assert len({call.id for call in calls}) == len(calls)
