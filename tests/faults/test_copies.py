"""Copies while Docker itself fails, on a daemon of the test's own: the source stays, and the next copy is good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from clawloops.errors import EngineRefused, EngineUnavailable
from clawloops.runtimes import carriers, reaper, volumes
from tests.runtimes.workspaces import FINGERPRINT, archive, inside
from tests.standin.daemon import Daemon
from tests.standin.place import Place

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.limit(240)]


@pytest.fixture(scope="module")
def daemon(docker_client: docker.DockerClient, standin: str) -> Iterator[Daemon]:
    with Daemon() as made:
        asyncio.run(made.load(standin, docker_client))
        yield made


@pytest.fixture
async def there(daemon: Daemon, standin: str, tmp_path: Path) -> AsyncIterator[Place]:
    client = daemon.client()
    place = Place(client, daemon.url, tmp_path, standin)
    await place.open()
    try:
        await volumes.ensure(place.engine, place.install_id, "r1")
        await inside(place, "r1", 0, "head -c 80M /dev/urandom > big; mkdir d; echo x > d/small")
        yield place
    finally:
        await asyncio.to_thread(daemon.recover)
        await place.close()
        await asyncio.to_thread(place.sweep)
        client.close()


async def test_a_full_disk_ends_a_copy_with_its_name_and_the_next_one_is_good(daemon: Daemon, there: Place) -> None:
    before = await inside(there, "r1", 0, FINGERPRINT)
    filled = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fill(passed: int) -> None:
        if passed > 10 * 1024**2 and not filled.is_set():
            daemon.fill_disk()
            loop.call_soon_threadsafe(filled.set)

    with pytest.raises(EngineRefused, match="the disk is full") as full:
        await archive(there).copy(("r1", 0), ("r1", 1), watch=fill)
    assert full.value.status == 507
    await asyncio.to_thread(daemon.free_disk)
    await carriers.sweep(there.engine, there.install_id)
    await reaper.remove(there.engine, there.install_id, "r1", 1)
    await archive(there).copy(("r1", 0), ("r1", 2))
    assert {await inside(there, "r1", number, FINGERPRINT) for number in (0, 2)} == {before}


async def test_a_daemon_that_is_killed_ends_a_copy_and_the_next_one_is_good(daemon: Daemon, there: Place) -> None:
    before = await inside(there, "r1", 0, FINGERPRINT)
    killed = False

    def kill(passed: int) -> None:
        nonlocal killed
        if passed > 10 * 1024**2 and not killed:
            killed = True
            daemon.kill()

    for keep, number in ((None, 1), (lambda path: True, 2)):
        killed = False
        with pytest.raises(EngineUnavailable):
            await archive(there).copy(("r1", 0), ("r1", number), keep=keep, watch=kill)
        await asyncio.to_thread(daemon.start)
        await carriers.sweep(there.engine, there.install_id)
    await archive(there).copy(("r1", 0), ("r1", 3))
    assert {await inside(there, "r1", number, FINGERPRINT) for number in (0, 3)} == {before}
    for number in (1, 2):  # no carrier holds on to what was cut
        await reaper.remove(there.engine, there.install_id, "r1", number)
