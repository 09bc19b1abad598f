"""One leader: the second control plane waits, says for whom, changes nothing, and takes over from a dead one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from clawloops.errors import SetupError
from clawloops.store.leader import PROBE_EVERY_S, PROBE_S, SERVER_SIDE, SETTLE_S, lead
from clawloops.store.postgres import open_session
from tests.store.contender import Contender, overlaps
from tests.store.test_seal import write_key

Contend = Callable[..., Awaitable[Contender]]


def never(reason: str) -> None:
    pytest.fail(f"leadership was lost: {reason}")


@pytest.fixture
async def contend(url: str, tmp_path: Path) -> AsyncIterator[Contend]:
    """Starts a contender for the data folder (of the given name)."""
    made: list[Contender] = []

    async def start(data: str = "data") -> Contender:
        (tmp_path / data).mkdir(exist_ok=True)
        made.append(Contender(url, tmp_path / data, tmp_path / "beats"))
        await made[-1].start()
        return made[-1]

    yield start
    for each in made:
        await each.end()
    assert overlaps(tmp_path / "beats") == []


async def test_a_second_one_waits_says_for_whom_and_leads_within_two_seconds_of_a_kill(contend: Contend) -> None:
    first = await contend()
    await first.until_it_leads(30)
    second = await contend()
    await second.until_it_says(f"waiting: clawloops pid {first.pid} on {socket.gethostname()[:24]}")
    assert not second.leads
    await first.end(signal.SIGKILL)
    await second.until_it_leads(2)


async def test_a_leader_that_stops_hands_over(contend: Contend) -> None:
    first = await contend()
    await first.until_it_leads(30)
    second = await contend()
    await second.until_it_says("waiting: ")
    assert await first.end(signal.SIGTERM) == 0
    await second.until_it_leads(2)


async def test_the_lock_file_is_private_and_names_its_holder(url: str, tmp_path: Path) -> None:
    async with lead(url, data=tmp_path, on_lost=never):
        file = tmp_path / "leader.lock"
        assert file.stat().st_mode & 0o777 == 0o600
        assert f"pid {os.getpid()} on {socket.gethostname()[:24]}" in file.read_text()
    async with asyncio.timeout(5), lead(url, data=tmp_path, on_lost=never):
        pass


async def test_a_removed_lock_file_ends_leadership(url: str, tmp_path: Path) -> None:
    reasons: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.timeout(10), lead(url, data=tmp_path, on_lost=reasons.put_nowait):
        (tmp_path / "leader.lock").unlink()
        assert "removed or replaced" in await reasons.get()


async def test_two_data_folders_with_one_sqlite_file_have_one_leader(tmp_path: Path) -> None:
    for each in ("one", "two"):
        (tmp_path / each).mkdir()
    url = f"sqlite:///{tmp_path}/shared.db"
    async with lead(url, data=tmp_path / "one", on_lost=never):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), lead(url, data=tmp_path / "two", on_lost=never):
                pytest.fail("a second leader")


async def test_a_folder_that_cannot_hold_the_lock_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="check the folder"):
        async with lead(f"sqlite:///{tmp_path}/store.db", data=tmp_path / "none", on_lost=never):
            pass


async def test_a_postgresql_that_does_not_answer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="start it or correct"):
        async with lead("postgresql://u@127.0.0.1:1/db", data=tmp_path, wait_s=0.1, on_lost=never):
            pass


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_with_postgresql_the_data_folder_may_differ(contend: Contend) -> None:
    first = await contend("one")
    await first.until_it_leads(30)
    second = await contend("two")
    await second.until_it_says(f"waiting: clawloops pid {first.pid} on ")
    await first.end(signal.SIGKILL)
    assert await second.until_it_leads(SETTLE_S + 2) >= SETTLE_S - 0.5


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_installs_in_two_schemas_of_one_postgresql_both_lead(url: str, tmp_path: Path) -> None:
    for each in ("one", "two"):
        (tmp_path / each).mkdir()
    async with (
        asyncio.timeout(20),
        lead(url, data=tmp_path / "one", on_lost=never),
        lead(url.partition("?")[0], data=tmp_path / "two", on_lost=never),
    ):
        pass


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_session_that_the_server_ends_is_lost_at_once(url: str, tmp_path: Path) -> None:
    reasons: asyncio.Queue[str] = asyncio.Queue()
    async with lead(url, data=tmp_path, on_lost=reasons.put_nowait):
        admin = await asyncpg.connect(url)
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        await admin.close()
        async with asyncio.timeout(1):
            assert "PostgreSQL ended the connection" in await reasons.get()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_the_server_gives_up_a_silent_leader_later_than_the_leader_gives_up_the_server(url: str) -> None:
    session = await open_session(url, password=None, wait_s=0, settings=SERVER_SIDE)
    idle, interval, count, unanswered = [
        int(await session.fetchval(f"SELECT setting FROM pg_settings WHERE name = '{name}'")) for name in SERVER_SIDE
    ]
    await session.close()
    assert min(idle + interval * count, unanswered / 1000) >= PROBE_EVERY_S + PROBE_S + 10


async def clawloops(command: str, data: Path) -> asyncio.subprocess.Process:
    """The command line on a folder that holds no keys, and without Docker."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clawloops", command),
        env={**os.environ, "CLAWLOOPS_INSTALL_ID": "0" * 8, "CLAWLOOPS_DATA": str(data)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_control_plane_that_waits_touches_nothing_and_stops_when_told(tmp_path: Path) -> None:
    async with lead(f"sqlite:///{tmp_path}/clawloops.db", data=tmp_path, on_lost=never):
        process = await clawloops("serve", tmp_path)
        assert process.stderr is not None
        async with asyncio.timeout(20):
            line = (await process.stderr.readline()).decode()
        assert f"waiting: clawloops pid {os.getpid()} on " in line
        descriptors = [os.readlink(each) for each in Path(f"/proc/{process.pid}/fd").iterdir()]
        listening = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line}
        assert not {f"socket:[{each}]" for each in listening} & set(descriptors)
        process.terminate()
        async with asyncio.timeout(5):
            _, rest = await process.communicate()
        assert (process.returncode, b"stopped before this one could lead" in rest) == (0, True)
        assert [each.name for each in tmp_path.iterdir()] == ["leader.lock"]


async def test_the_other_commands_work_beside_a_leader(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    write_key(tmp_path / "keys" / "master.key", "ab" * 32)
    async with lead(f"sqlite:///{tmp_path}/clawloops.db", data=tmp_path, on_lost=never):
        for command, says in (("migrate", b"at this version"), ("setup-link", b"http://")):
            process = await clawloops(command, tmp_path)
            async with asyncio.timeout(20):
                printed, told = await process.communicate()
            assert (process.returncode, says in printed) == (0, True), told.decode()
