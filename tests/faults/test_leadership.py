"""Never two leaders: ten random kills, a frozen leader, a PostgreSQL that restarts, a network that falls silent."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clawloops.bench.peers import free_port
from clawloops.bench.postgresql import PASSWORD, Server
from clawloops.store.leader import PROBE_EVERY_S, PROBE_S, SETTLE_S
from tests.store.contender import Contender, led, overlaps

pytestmark = [pytest.mark.faults, pytest.mark.limit(180)]

SETTLED_S = SETTLE_S + 2
KILLS = 10


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    try:
        made.make()
        made.start()
        yield made
    finally:
        made.remove()


class Ring:
    """Contenders for the same data, each with the data folder and the address that it is given."""

    def __init__(self, tmp_path: Path, url: str) -> None:
        self.beats = tmp_path / "beats"
        self.url = url
        self._folder = tmp_path
        self.all: list[Contender] = []

    async def enter(self, data: str = "data", url: str = "") -> Contender:
        (self._folder / data).mkdir(exist_ok=True)
        made = Contender(url or self.url, self._folder / data, self.beats)
        await made.start()
        self.all.append(made)
        return made

    async def leader(self, within_s: float = 30) -> Contender:
        """Whoever leads and lives."""
        async with asyncio.timeout(within_s):
            while True:
                for each in self.all:
                    if each.leads and each.process.returncode is None:
                        return each
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        for each in self.all:
            await each.end()


@pytest.fixture(params=["sqlite", "postgresql"])
async def ring(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ring]:
    url = f"sqlite:///{tmp_path}/store.db"
    if request.param == "postgresql":
        server = request.getfixturevalue("server")
        url = f"postgresql://postgres:{PASSWORD}@{server.address}/postgres"
    made = Ring(tmp_path, url)
    yield made
    await made.end()


on_postgresql = pytest.mark.parametrize("ring", ["postgresql"], indirect=True)


async def ten_kills(ring: Ring, folders: list[str], *, within_s: float) -> list[float]:
    """Seconds from each death to the next leader."""
    for folder in folders:
        await ring.enter(folder)
    await ring.leader()
    took: list[float] = []
    for number in range(KILLS):
        first = await ring.leader()
        await asyncio.sleep(random.uniform(0, 0.6))
        await ring.enter(folders[number % len(folders)])
        await first.end()
        began = time.monotonic()
        ring.all.remove(first)
        await ring.leader(within_s)
        took.append(time.monotonic() - began)
    assert overlaps(ring.beats) == []
    assert len(led(ring.beats)) == KILLS + 1
    return took


async def test_ten_random_kills_never_make_two_leaders(ring: Ring) -> None:
    took = await ten_kills(ring, ["data", "data"], within_s=2)
    print(f"the next one led after {min(took):.2f} to {max(took):.2f} s")


@on_postgresql
async def test_ten_random_kills_never_make_two_leaders_in_two_folders(ring: Ring) -> None:
    took = await ten_kills(ring, ["one", "two"], within_s=SETTLED_S)
    print(f"the next one led after {min(took):.2f} to {max(took):.2f} s")


async def test_a_frozen_leader_leads_on_until_it_is_killed(ring: Ring) -> None:
    first = await ring.enter()
    await first.until_it_leads(30)
    second = await ring.enter()
    await second.until_it_says("waiting: ")
    os.kill(first.pid, signal.SIGSTOP)
    await asyncio.sleep(4)
    assert not second.leads
    await first.end(signal.SIGKILL)
    await second.until_it_leads(2)
    assert overlaps(ring.beats) == []


@on_postgresql
async def test_a_leader_ends_when_its_postgresql_restarts_and_the_next_one_waits_for_both(
    ring: Ring, server: Server
) -> None:
    first = await ring.enter("one")
    await first.until_it_leads(30)
    await ring.enter("one")
    third = await ring.enter("two")
    await third.until_it_says("waiting: ")
    began = time.monotonic()
    await asyncio.to_thread(server.stop)
    assert await first.ended(5) == 75
    print(f"it had ended {time.monotonic() - began:.2f} s after the restart began")
    assert "lost: PostgreSQL ended the connection" in first.log
    await asyncio.to_thread(server.start)
    ring.all.remove(first)
    await ring.leader()
    assert overlaps(ring.beats) == []


@on_postgresql
async def test_a_leader_that_was_frozen_while_postgresql_restarted_still_has_its_folder(
    ring: Ring, server: Server
) -> None:
    first = await ring.enter()
    await first.until_it_leads(30)
    second = await ring.enter()
    await second.until_it_says("waiting: ")
    os.kill(first.pid, signal.SIGSTOP)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await asyncio.sleep(SETTLED_S)
    assert not second.leads
    os.kill(first.pid, signal.SIGCONT)
    assert await first.ended(5) == 75
    await second.until_it_leads(SETTLED_S)
    assert overlaps(ring.beats) == []


@on_postgresql
async def test_the_one_window_is_a_leader_elsewhere_that_wakes_from_a_freeze_and_it_is_short(
    ring: Ring, server: Server
) -> None:
    first = await ring.enter("one")
    await first.until_it_leads(30)
    second = await ring.enter("two")
    await second.until_it_says("waiting: ")
    os.kill(first.pid, signal.SIGSTOP)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await second.until_it_leads(30)
    woken = time.monotonic_ns()
    os.kill(first.pid, signal.SIGCONT)
    assert await first.ended(5) == 75
    window_s = (led(ring.beats)[str(first.pid)][1] - woken) / 1e9
    print(f"both led for {max(0.0, window_s):.3f} s")
    assert window_s < 1


@on_postgresql
async def test_a_leader_whose_network_falls_silent_ends_before_the_server_frees_its_lock(
    ring: Ring, server: Server
) -> None:
    async with relay(server.address) as (address, silence):
        first = await ring.enter("one", url=ring.url.replace(server.address, address))
        await first.until_it_leads(30)
        second = await ring.enter("two")
        await second.until_it_says("waiting: ")
        silence()
        began = time.monotonic()
        assert await first.ended(PROBE_EVERY_S + PROBE_S + 3) == 75
        print(f"it ended {time.monotonic() - began:.1f} s after the network fell silent")
        assert "does not answer where the lock is held" in first.log
        assert not second.leads
    await second.until_it_leads(SETTLED_S)
    assert overlaps(ring.beats) == []


@asynccontextmanager
async def relay(to: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """An address that leads to `to` until it is silenced; then nothing passes, and nothing is closed either."""
    open_, flows = asyncio.Event(), set[asyncio.Task[None]]()
    open_.set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await open_.wait()
            writer.write(data)
        await open_.wait()
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = to.partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        for each in (pump(reader, back), pump(there, writer)):
            flows.add(asyncio.create_task(each))

    listener = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}", open_.clear
        open_.set()
        await asyncio.gather(*flows, return_exceptions=True)


class Program:
    """The real `clawloops serve`, on ports of its own, in a folder that it may share."""

    def __init__(self, data: Path, url: str) -> None:
        self.port = free_port()
        self.log = data / f"{self.port}.log"
        password = data / "postgres.password"
        password.write_text(PASSWORD)
        self._environment = {
            **os.environ,
            "CLAWLOOPS_INSTALL_ID": data.name,
            "CLAWLOOPS_DATA": str(data),
            "CLAWLOOPS_DATABASE_URL": url.replace(f":{PASSWORD}@", "@"),
            "CLAWLOOPS_DATABASE_PASSWORD_FILE": str(password),
            "CLAWLOOPS_LISTEN": f"127.0.0.1:{self.port}",
            "CLAWLOOPS_AUTH_LISTEN": f"127.0.0.1:{free_port()}",
            "CLAWLOOPS_MODELS_LISTEN": f"127.0.0.1:{free_port()}",
            "CLAWLOOPS_GATEWAY_PORT": str(free_port()),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "clawloops", "serve"], env=self._environment, stdout=log, stderr=log
            )

    async def until(self, words: str) -> None:
        async with asyncio.timeout(40):
            while words not in self.log.read_text():
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True


@pytest.mark.docker
@on_postgresql
async def test_the_real_program_ends_with_a_clear_line_and_the_one_that_waited_answers(
    ring: Ring, server: Server, tmp_path: Path
) -> None:
    data = tmp_path / secrets.token_hex(4)
    (data / "keys").mkdir(parents=True)
    (data / "keys" / "master.key").write_text("0f" * 32)
    (data / "keys" / "master.key").chmod(0o600)
    programs = [Program(data, ring.url)]
    try:
        await programs[0].until("ClawLoops is ready")
        programs.append(Program(data, ring.url))
        await programs[1].until(f"waiting: clawloops pid {programs[0].process.pid} on ")
        assert [await each.answers() for each in programs] == [True, False]
        await asyncio.to_thread(server.stop)
        assert await asyncio.to_thread(programs[0].process.wait, 5) == 75
        assert "no longer the leader: PostgreSQL ended the connection that held the lock; ending at once" in (
            programs[0].log.read_text()
        )
        await asyncio.to_thread(server.start)
        await programs[1].until("ClawLoops is ready")
        assert await programs[1].answers()
        programs[1].process.terminate()
        assert await asyncio.to_thread(programs[1].process.wait, 15) == 0
    finally:
        for each in programs:
            each.process.kill()
            each.process.wait()
