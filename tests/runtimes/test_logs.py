"""What a container has printed, read from the real Engine; tests/guard/test_through.py does it through the guard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from clawloops.control.inspections import Inspections
from clawloops.control.logs import Logs
from clawloops.errors import NotFound
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.runtimes.logs import Entry, Reads, reader
from tests.standin.place import Place
from tests.web.printed import no_secrets

pytestmark = pytest.mark.docker


def taken(container_id: str, entries: Iterator[Entry]) -> tuple[str, list[Entry]]:
    return container_id, list(entries)


@pytest.fixture
async def opened(place: Place) -> Runtime:
    """A member's workspace that runs."""
    row = await place.member()
    await place.orchestrate()
    await place.until(row, Phase.READY)
    return row


@pytest.fixture
def read(place: Place) -> Reads:
    return reader(place.engine, place.install_id)


async def print_in(place: Place, runtime: Runtime, line: str, *, to: int = 1) -> None:
    """By the container's first process, as far as the Engine can tell."""
    said = await place.inside(runtime, f"{line} > /proc/1/fd/{to}")
    assert not said, said


async def until(read: Reads, runtime: Runtime, last: bytes) -> list[Entry]:
    """The Engine writes a line down a moment after it was printed."""
    for _ in range(100):
        _, entries = await read(runtime.id, 500, taken)
        if entries and entries[-1].text == last:
            return entries
        await asyncio.sleep(0.05)
    raise AssertionError(f"{last!r} is not the end of {entries}")


async def test_both_streams_are_read_in_order_with_their_times(place: Place, opened: Runtime, read: Reads) -> None:
    assert await read(opened.id, 500, taken) == (place.container(opened).id, [])
    await print_in(place, opened, "printf 'one\\n\\n\\033[31mtwo\\033[0m\\n'")
    await until(read, opened, b"\x1b[31mtwo\x1b[0m")
    await print_in(place, opened, "echo it broke", to=2)
    entries = await until(read, opened, b"it broke")
    assert [each.text for each in entries] == [b"one", b"", b"\x1b[31mtwo\x1b[0m", b"it broke"]
    assert [each.is_error for each in entries] == [False, False, False, True]
    assert all(len(each.at) == 30 and each.at.endswith("Z") for each in entries)
    assert sorted(each.at for each in entries) == [each.at for each in entries]
    assert [each.text for each in (await read(opened.id, 1, taken))[1]] == [b"it broke"]


async def test_a_crash_and_a_stop_leave_the_log_that_was_and_a_new_container_begins_one(
    place: Place, opened: Runtime, read: Reads
) -> None:
    await print_in(place, opened, "echo before the crash")
    await until(read, opened, b"before the crash")
    await asyncio.to_thread(place.container(opened).kill)
    await place.seen(opened, lambda view: view.phase is not Phase.READY)
    await place.until(opened, Phase.READY)
    await print_in(place, opened, "echo after it")
    assert [each.text for each in await until(read, opened, b"after it")] == [b"before the crash", b"after it"]
    await place.wish(opened, Want.STOPPED)
    await place.until(opened, Phase.STOPPED)
    assert len((await read(opened.id, 500, taken))[1]) == 2
    await place.wish(opened, Want.GONE)
    await place.until(opened, Phase.ABSENT)
    logs = Logs(cast(Inspections, None), read, data=place.install.data, secrets_of=no_secrets)
    with pytest.raises(NotFound, match="Start the workspace"):
        await logs.last(opened)
    await place.wish(opened, Want.RUNNING)
    await place.until(opened, Phase.READY)
    assert (await logs.last(opened)).lines == ()


async def test_whatever_a_runtime_prints_its_log_stays_bounded_and_the_newest_is_read(
    place: Place, opened: Runtime, read: Reads
) -> None:
    token = (Path(place.install.data) / "runtimes" / opened.id / "secret" / "model-token").read_text()
    flood = "head -c 60000000 /dev/urandom; yes 'a line of a flood' | head -n 400000; echo; head -c 100000 /dev/zero"
    await print_in(place, opened, f"{{ {flood}; echo; echo key={token}; echo the end; }}")
    entries = await until(read, opened, b"the end")
    assert 450 < len(entries) <= 500 and max(len(each.text) for each in entries) <= 16_384
    assert any(each.text.startswith(bytes(100)) and each.is_cut for each in entries)
    _, most = await read(opened.id, 10**9, taken)
    assert 1000 < len(most) <= 20_000
    logs = Logs(cast(Inspections, None), read, data=place.install.data, secrets_of=no_secrets)
    found = await logs.last(opened, ("key=",))
    assert [each.text for each in found.lines] == ["key=[secret]"] and found.looked_at > 1000
    async with logs.file(opened) as file:
        assert token.encode() not in file.read()


async def test_two_members_read_their_own(place: Place, opened: Runtime, read: Reads) -> None:
    other = await place.member()
    assert place.loop
    place.loop.wake(other.id)
    await place.until(other, Phase.READY)
    for each in (opened, other):
        await print_in(place, each, f"echo I am {each.id}")
    for each in (opened, other):
        assert [entry.text.decode() for entry in await until(read, each, f"I am {each.id}".encode())] == [
            f"I am {each.id}"
        ]


async def test_a_container_that_only_has_its_name_is_nobodys(place: Place, read: Reads) -> None:
    row = await place.member()
    made = place.docker.containers.run(place.image, ["-e", "print 1"], name=place.name(row), detach=True)
    try:
        with pytest.raises(Exception, match=r"none of ours|no container of a runtime of ours"):
            await read(row.id, 500, taken)
    finally:
        made.remove(force=True, v=True)
