"""Copies of workspaces through the real Engine: nothing lost, nothing half-done used, little memory, nothing left."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from clawloops.errors import EngineRefused, Unavailable
from clawloops.runtimes import bodies, carriers, containers, names, reaper, volumes
from clawloops.runtimes.client import EngineMissing
from tests.runtimes import workspaces
from tests.runtimes.workspaces import FINGERPRINT, archive, inside
from tests.standin.place import Place

pytestmark = pytest.mark.docker

EVERYTHING = r"""
mkdir -p a/b 'with space' empty; echo hi > a/b/ü; chmod 640 a/b/ü; ln a/b/ü hard; ln -s a/b/ü inner; ln -s ../up a/b/up
ln -s ../../../etc/hosts a/out; ln -s /usr/bin/perl perl; mkfifo pipe; printf x > "$(printf 'bad\377name')"
printf '#!/bin/sh\n' > run; chmod 4755 run; truncate -s 5M holes; chmod 700 empty; touch -d '2001-02-03 04:05:06' a/b/ü
long=$(printf 'n%.0s' $(seq 120)); mkdir -p $long/$long; echo z > $long/$long/$long; chmod 500 "with space"
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Type => 1, Local => "socket", Listen => 1)'
"""


async def everything(place: Place, runtime_id: str = "r1") -> str:
    await volumes.ensure(place.engine, place.install_id, runtime_id)
    await inside(place, runtime_id, 0, EVERYTHING)
    return await inside(place, runtime_id, 0, FINGERPRINT)


async def test_a_copy_is_the_same_to_the_last_byte_mode_owner_and_link(place: Place) -> None:
    before = await everything(place)
    passed = await archive(place).copy(("r1", 0), ("r2", 7))
    assert passed > 5 * 1024 * 1024
    assert await inside(place, "r2", 7, FINGERPRINT) == before
    assert await inside(place, "r1", 0, FINGERPRINT) == before
    sizes = await asyncio.gather(
        *(archive(place).measure(("r1", 0)) for _ in range(4))
    )  # Docker measures one at a time
    assert all(5 * 1024 * 1024 <= size <= passed for size in sizes)
    found = await asyncio.to_thread(place.docker.volumes.get, names.volume(place.install_id, "r2", 7))
    assert found.attrs["Labels"] == {**names.labels(place.install_id, "r2"), names.VOLUME: "7"}
    assert await workspaces.carriers(place) == []


async def test_a_volume_is_filled_once_and_never_made_by_a_copy_of_nothing(place: Place) -> None:
    await everything(place)
    await archive(place).copy(("r1", 0), ("r1", 1))
    with pytest.raises(EngineRefused, match="nothing is written over it") as taken:
        await archive(place).copy(("r1", 0), ("r1", 1))
    assert taken.value.status == 409
    with pytest.raises(EngineMissing, match="restore a snapshot"):
        await archive(place).copy(("r1", 8), ("r1", 9))
    for number in (8, 9):
        assert not await volumes.exists(place.engine, place.install_id, "r1", number)
    assert await workspaces.carriers(place) == []


async def test_a_copy_leaves_out_what_it_is_told_to_with_the_hard_links_to_it(place: Place) -> None:
    await everything(place)
    await archive(place).copy(("r1", 0), ("r1", 1), keep=lambda path: not path.startswith("a/b/"))
    left = (await inside(place, "r1", 1, "find . -mindepth 1 -maxdepth 2 -printf '%P\n'")).splitlines()
    assert {"a/b", "a/out", "holes", "run", "with space"} <= set(left)
    assert not {"hard", "a/b/ü"} & set(left)
    assert await inside(place, "r1", 1, "stat -c '%a %u' run .") == "4755 1000\n700 1000\n"


async def test_200_mb_pass_through_little_memory(place: Place, tmp_path: Path) -> None:
    await volumes.ensure(place.engine, place.install_id, "r1")
    await inside(place, "r1", 0, "{ seq 200000; head -c 200M /dev/zero; seq 9; } > big")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = archive(place)
    await held.copy(("r1", 0), ("r1", 1))
    await held.copy(("r1", 0), ("r1", 2), keep=lambda path: True)
    await held.write_file(("r1", 0), tmp_path / "file", {}, keep=lambda path: True)
    await held.read_file(tmp_path / "file", ("r1", 3), keep=lambda path: True, most_bytes=2**30)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 60
    sums = {await inside(place, "r1", number, "sha256sum big") for number in range(4)}
    assert len(sums) == 1


async def test_a_cancelled_copy_ends_at_once_and_leaves_no_carrier(place: Place) -> None:
    await volumes.ensure(place.engine, place.install_id, "r1")
    await inside(place, "r1", 0, "head -c 300M /dev/zero > big")
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch(passed: int) -> None:
        loop.call_soon_threadsafe(begun.set)

    copy = asyncio.create_task(archive(place).copy(("r1", 0), ("r1", 1), watch=watch))
    await begun.wait()
    copy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copy
    assert await workspaces.carriers(place) == []
    assert int(await inside(place, "r1", 1, "stat -c %s big 2>/dev/null || echo 0")) < 300 * 1024**2
    await archive(place).copy(("r1", 0), ("r1", 2))


async def test_whoever_watches_can_end_a_copy(place: Place) -> None:
    await everything(place)

    def full(passed: int) -> None:
        raise Unavailable("the disk is nearly full")

    for copy in (
        archive(place).copy(("r1", 0), ("r1", 1), watch=full),
        archive(place).copy(("r1", 0), ("r1", 2), watch=full, keep=lambda path: True),
    ):
        with pytest.raises(Unavailable, match="nearly full"):
            await copy
    assert await workspaces.carriers(place) == []


async def test_carriers_of_a_crash_are_swept_and_runtimes_are_not(place: Place) -> None:
    row = await place.member()
    await volumes.ensure(place.engine, place.install_id, row.id)
    volume = names.volume(place.install_id, row.id)
    name = names.carrier(place.install_id, row.id, 0, "abc")
    await containers.create(place.engine, name, bodies.carrier(place.install_id, place.image, volume, writes=True))
    with pytest.raises(EngineRefused) as used:
        await reaper.remove(place.engine, place.install_id, row.id, 0)
    assert used.value.status == 409
    assert await containers.seen(place.engine, place.install_id, row.id) == []
    assert await carriers.sweep(place.engine, place.install_id) == 1
    assert await carriers.sweep(place.engine, place.install_id) == 0
    assert await asyncio.to_thread(place.docker.containers.get, place.install.edge)


async def test_a_volume_is_removed_only_where_it_is_ours(place: Place) -> None:
    await volumes.ensure(place.engine, place.install_id, "r1", 3)
    await reaper.remove(place.engine, place.install_id, "r1", 3)
    await reaper.remove(place.engine, place.install_id, "r1", 3)
    assert not await volumes.exists(place.engine, place.install_id, "r1", 3)
    name = names.volume(place.install_id, "r1", 4)
    theirs: Any = await asyncio.to_thread(place.docker.volumes.create, name)
    try:
        with pytest.raises(EngineRefused, match="not of this install"):
            await reaper.remove(place.engine, place.install_id, "r1", 4)
        await asyncio.to_thread(theirs.reload)
    finally:
        await asyncio.to_thread(theirs.remove)


async def test_a_file_carries_a_workspace_to_another_volume(place: Place, tmp_path: Path) -> None:
    await everything(place)
    path = tmp_path / "ada.tar.gz"
    written = await archive(place).write_file(("r1", 0), path, {"slug": "ada"}, keep=lambda path: path != "holes")
    assert path.stat().st_mode & 0o777 == 0o600
    assert written.bytes == path.stat().st_size
    assert written.left_out == 2  # the pipe, and the link to /etc; the Engine itself leaves sockets out
    with tarfile.open(path) as packed:
        first = packed.next()
        assert first is not None
        assert first.name == "clawloops-workspace.json"
        said = packed.extractfile(first)
        assert said is not None
        assert json.load(said) == {"format": 1, "slug": "ada"}
    await archive(place).read_file(path, ("r2", 0), keep=lambda path: True, most_bytes=2**30)
    left_out = ("a/out|", "pipe|", "holes|")
    before = [line for line in (await inside(place, "r1", 0, FINGERPRINT)).splitlines() if not line.endswith("./holes")]
    wanted = [line.replace("|4755|", "|755|") for line in before if not line.startswith(left_out)]
    assert (await inside(place, "r2", 0, FINGERPRINT)).splitlines() == wanted
    assert await workspaces.carriers(place) == []


async def test_a_file_that_cannot_be_written_leaves_nothing(place: Place, tmp_path: Path) -> None:
    await everything(place)
    with pytest.raises(Unavailable, match="could not be written"):
        await archive(place).write_file(("r1", 0), tmp_path / "no" / "file", {}, keep=lambda path: True)

    def stop(passed: int) -> None:
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        await archive(place).write_file(("r1", 0), tmp_path / "file", {}, keep=lambda path: True, watch=stop)
    assert list(tmp_path.glob("**/*file*")) == []
    assert await workspaces.carriers(place) == []


WRITER = """
import sqlite3
db = sqlite3.connect("/mnt/state.sqlite", isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA wal_autocheckpoint = 20")
db.execute("CREATE TABLE turns (number INTEGER PRIMARY KEY, text TEXT NOT NULL, again TEXT NOT NULL)")
db.execute("CREATE INDEX by_text ON turns (text)")
number = 0
while True:
    number += 1
    db.execute("BEGIN")
    db.execute("INSERT INTO turns VALUES (?, hex(randomblob(900)), '')", (number,))
    db.execute("UPDATE turns SET again = text WHERE number = ?", (number,))
    db.execute("DELETE FROM turns WHERE number < ?", (number - 400,))
    db.execute("COMMIT")
"""
READER = """
import sqlite3
db = sqlite3.connect("/mnt/state.sqlite")
print(db.execute("PRAGMA integrity_check").fetchone()[0])
print(db.execute("SELECT count(*) FROM turns WHERE again <> text").fetchone()[0])
print(db.execute("SELECT max(number) FROM turns").fetchone()[0])
"""


async def test_a_database_whose_writer_is_frozen_is_copied_whole(place: Place) -> None:
    await volumes.ensure(place.engine, place.install_id, "r1")
    writer = await asyncio.to_thread(workspaces.start_python, place, "r1", 0, WRITER)
    newest = 0
    for number in range(1, 6):
        await asyncio.sleep(0.37)
        await containers.pause(place.engine, writer.id)  # though it writes all the time
        await archive(place).copy(("r1", 0), ("r1", number))
        await asyncio.to_thread(writer.unpause)
        reader = await asyncio.to_thread(workspaces.start_python, place, "r1", number, READER)
        await asyncio.to_thread(reader.wait)
        whole, torn, last = (await asyncio.to_thread(reader.logs)).decode().split()
        assert (whole, torn) == ("ok", "0")
        assert int(last) > newest
        newest = int(last)
    await asyncio.to_thread(writer.reload)
    assert writer.status == "running", writer.logs()


COPIER = """
import asyncio, sys
from clawloops.runtimes.archive import Archive
from clawloops.runtimes.client import Engine

def watch(passed):
    if passed > 30 * 1024 * 1024:
        print("halfway", flush=True)
        sys.stdin.read()

asyncio.run(Archive(Engine(sys.argv[1]), sys.argv[2], sys.argv[3]).copy(("r1", 0), ("r1", 1), watch=watch))
"""


@pytest.mark.faults
async def test_a_copier_that_is_killed_leaves_the_source_whole_and_a_carrier_to_sweep(place: Place) -> None:
    await volumes.ensure(place.engine, place.install_id, "r1")
    await inside(place, "r1", 0, "head -c 60M /dev/urandom > big")
    before = await inside(place, "r1", 0, FINGERPRINT)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COPIER, place.url, place.install_id, place.image),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"halfway\n"
    child.kill()
    await child.wait()
    assert len(await workspaces.carriers(place)) == 2
    assert await carriers.sweep(place.engine, place.install_id) == 2
    assert await workspaces.carriers(place) == []
    with pytest.raises(EngineRefused, match="nothing is written over it"):
        await archive(place).copy(("r1", 0), ("r1", 1))
    await archive(place).copy(("r1", 0), ("r1", 2))
    assert {await inside(place, "r1", number, FINGERPRINT) for number in (0, 2)} == {before}
