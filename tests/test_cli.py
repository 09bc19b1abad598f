"""`clawloops runtime …` through `main`, on a store of the test's own, beside a control plane that is told of it."""

from __future__ import annotations

import asyncio
import fcntl
import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from clawloops import ground, nudge
from clawloops.__main__ import main
from clawloops.control.audit import Audit
from clawloops.control.runtimes import Runtimes
from clawloops.model.account import Role, User
from clawloops.model.runtime import Policy, Runtime, Size, Sleep, Want
from clawloops.model.workspace import Task
from clawloops.store import events, jobs, users
from clawloops.store import runtimes as rows
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from tests.store.test_seal import write_key

MIA = User("u1", "mia", "Mia", Role.MEMBER, "-", None, 1)
BEN = User("u2", "ben", "Ben", Role.MEMBER, "-", None, 2)

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLAWLOOPS_INSTALL_ID", "0a1b2c3d")
    monkeypatch.setenv("CLAWLOOPS_DATA", str(tmp_path))

    async def fill(db: Database) -> None:
        for user in (MIA, BEN):
            await users.add(db, user)
        made = await Runtimes(db, Audit(db, b"key"), pool=IPv4Network("10.0.0.0/24"), wake=lambda _: None).open(MIA)
        await events.add(db, made.id, at=1_800_000_000_000, kind="start", text="its container was started", took_ms=412)

    _in_store(tmp_path, fill)
    (tmp_path / "keys").mkdir()
    write_key(tmp_path / "keys" / "master.key", "ab" * 32)
    return tmp_path


@pytest.fixture
def say(data: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*words: str) -> tuple[int, str, str]:
        status = main(["runtime", *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def _in_store(data: Path, work: Callable[[Database], object]) -> None:
    async def run() -> None:
        db = await open_database(f"sqlite:///{data}/clawloops.db")
        try:
            await migrate(db, backup_dir=data / "backups")
            await work(db)  # type: ignore[misc]
        finally:
            await db.close()

    asyncio.run(run())


def _row(data: Path) -> Runtime:
    found: list[Runtime] = []

    async def read(db: Database) -> None:
        found.extend(await rows.all(db))

    _in_store(data, read)
    return found[0]


def test_the_list_shows_what_is_wanted_for_people_and_for_programs(say: Say) -> None:
    status, text, _ = say("list")
    assert status == 0
    assert text.splitlines()[0].split() == ["LOGIN", "STATE", "SIZE", "POLICY", "IMAGE", "WHY"]
    assert text.splitlines()[1].split()[:4] == ["mia", "running", "medium", "stop"]
    (row,) = json.loads(say("list", "--json")[1])
    assert (row["login"], row["state"], row["why"]) == ("mia", "running", "Started by Mia")


def test_the_history_comes_with_durations(say: Say) -> None:
    _, text, _ = say("events", "mia")
    assert [line.split(None, 2)[2] for line in text.splitlines()] == [
        "Started by Mia",
        "0.41 s  its container was started",
    ]
    lines = json.loads(say("events", "mia", "--json", "--limit", "1")[1])
    assert [(each["text"], each["took_ms"]) for each in lines] == [("its container was started", 412)]


def test_wishes_and_settings_are_written_down_and_the_control_plane_is_told(say: Say, data: Path) -> None:
    assert say("stop", "mia")[:2] == (0, "mia: stopped, medium, stop. The control plane follows.\n")
    assert (_row(data).want, _row(data).sleep_why) == (Want.STOPPED, "Stopped by the command line")
    assert (data / "nudge").exists()
    status, _, error = say("wake", "mia")
    assert status == 1 and "is stopped; start it" in error
    status, _, error = say("restart", "mia")
    assert status == 1 and "Start it instead" in error
    assert say("start", "mia")[0] == say("size", "mia", "large")[0] == say("policy", "mia", "pause")[0] == 0
    assert say("pin", "mia", "clawloops/openclaw:old")[0] == 0
    row = _row(data)
    assert (row.want, row.size, row.policy, row.pin) == (
        Want.RUNNING, Size.LARGE, Policy.PAUSE, "clawloops/openclaw:old"
    )  # fmt: skip
    assert json.loads(say("pin", "mia", "", "--json")[1])["pin"] == ""


def test_waking_ends_a_sleep_and_a_restart_is_a_job_for_the_keeper(say: Say, data: Path) -> None:
    async def put_to_sleep(db: Database) -> None:
        (row,) = await rows.all(db)
        await rows.put(db, replace(row, sleep=Sleep.STOPPED))

    _in_store(data, put_to_sleep)
    assert "asleep" in say("list")[1]
    assert say("wake", "mia")[0] == 0
    assert _row(data).sleep is Sleep.AWAKE
    assert say("restart", "mia")[0] == 0
    found: list[Task] = []

    async def read(db: Database) -> None:
        found.extend(each.task for each in await jobs.open_(db))

    _in_store(data, read)
    assert found == [Task.RESTART]


def test_an_unknown_login_and_a_member_without_a_workspace_are_told(say: Say) -> None:
    status, _, error = say("stop", "zoe")
    assert status == 1 and "there is no member 'zoe'" in error
    status, _, error = say("stop", "ben")
    assert status == 1 and "no workspace yet" in error
    with pytest.raises(SystemExit) as left:
        say("size", "mia", "enormous")
    assert left.value.code == 2


async def test_a_nudge_makes_the_control_plane_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nudge, "EVERY_S", 0.01)
    looked = asyncio.Event()
    watching = asyncio.create_task(nudge.take(tmp_path, looked.set))
    for _ in range(2):
        looked.clear()
        await asyncio.sleep(0.05)
        assert not looked.is_set()
        nudge.give(tmp_path)
        await asyncio.wait_for(looked.wait(), 5)
    watching.cancel()


def test_the_audit_is_verified_and_a_change_is_shown(data: Path, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    def verify(*words: str) -> tuple[int, str]:
        status = main(["audit", "verify", *words])
        return status, capsys.readouterr().out

    status, told = verify()  # the fixture made the workspace with a key of its own
    assert status == 1 and "Entry 1: it was changed, or written by somebody else." in told
    _in_store(data, lambda db: db.execute("DELETE FROM audit"))
    assert say("stop", "mia")[0] == 0
    assert say("start", "mia")[0] == 0
    status, told = verify("--json")
    found = json.loads(told)
    assert (status, found["entries"], found["why"]) == (0, 2, "")
    status, told = verify("--head", found["head"])
    assert status == 0 and f"2 entries hold, up to {found['head']}." in told and "Nothing is wrong" in told
    _in_store(data, lambda db: db.execute("DELETE FROM audit WHERE seq = (SELECT MAX(seq) FROM audit)"))
    assert verify()[0] == 0
    status, told = verify("--head", found["head"])
    assert status == 1 and "its end was cut off" in told


def test_the_master_key_is_rotated_while_no_control_plane_runs(
    data: Path, say: Say, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground, "_OTHER_LEADS_S", 0.3)
    master = data / "keys" / "master.key"
    assert say("stop", "mia")[0] == 0
    before = master.read_text()
    with (data / "leader.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["keys", "rotate"]) == 1
        assert "docker compose stop clawloops" in capsys.readouterr().err
        assert master.read_text() == before
    assert main(["keys", "rotate"]) == 0
    told = capsys.readouterr().out
    assert "0 provider keys are sealed with it" in told and str(master) in told
    assert master.read_text() != before
    assert say("start", "mia")[0] == 0
    (data / "keys" / "master.next").write_text("cd" * 32)
    status, _, error = say("stop", "mia")
    assert status == 1 and "clawloops keys rotate" in error
