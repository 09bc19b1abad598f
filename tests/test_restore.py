"""A backup put back by the real Engine: no member's file is lost, and what cannot be put back changes nothing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from clawloops import ground
from clawloops.__main__ import main
from clawloops.clock import now_ms
from clawloops.config import Settings
from clawloops.errors import NotFound, SetupError
from clawloops.model.backup import Reason
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.model.workspace import Job, JobState, Kind, Task
from clawloops.restore import restore
from clawloops.store import backups, jobs, usage, volumes
from clawloops.store.db import open_database
from tests.guard.test_upkeep import settings_of
from tests.runtimes.workspaces import inside
from tests.standin.fixtures import docker_client, place, standin
from tests.standin.place import Place
from tests.store.rows import call
from tests.store.test_seal import write_key

__all__ = ["docker_client", "place", "standin"]

pytestmark = pytest.mark.docker


@pytest.fixture
async def settings(place: Place) -> Settings:
    """Of a box whose store has a master key of its own, and its first entry in the audit."""
    found = settings_of(place)
    (found.data / "keys").mkdir()
    write_key(found.data / "keys" / "master.key", "ab" * 32)
    await (await ground.open_audit(place.db, found)).record(None, "made", "the box")
    return found


async def _backup(place: Place, settings: Settings) -> str:
    made = await backups.make(place.db, settings.data / "backups", Reason.ASKED, now=now_ms())
    assert made is not None
    return made.name


async def _reopen(place: Place, settings: Settings) -> None:
    place.db = await open_database(settings.database_url)


async def _snapshot(place: Place, runtime: Runtime) -> None:
    await jobs.add(place.db, Job("j-1", runtime.id, Task.SNAPSHOT, "Later", JobState.PENDING, "", None, now_ms(), 0))
    assert place.loop is not None
    place.loop.wake(runtime.id)
    for _ in range(200):
        found = await jobs.get(place.db, "j-1")
        assert found is not None
        if found.state is JobState.DONE:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(found)


async def test_the_database_is_that_of_then_and_the_files_are_those_of_now(place: Place, settings: Settings) -> None:
    await place.orchestrate()
    assert place.loop is not None
    runtime = await place.member()
    await place.until(runtime, Phase.READY)
    name = await _backup(place, settings)
    await place.inside(runtime, "echo later > /home/node/kept")
    await _snapshot(place, runtime)
    await usage.settle(place.db, [call(id="1" * 32)], log="usage", offset=77)
    await place.wish(runtime, Want.STOPPED)
    await place.until(runtime, Phase.STOPPED)
    await place.loop.stop()
    place.loop = None
    await place.db.close()

    done = await restore(settings, name)

    assert (done.name, done.found) == (name, ((runtime.slug, 1),)) and "before-restore" in done.kept
    every = {each.name for each in await backups.every(settings.data / "backups")}
    assert every == {name, done.kept}
    left = {each.name for each in settings.data.glob("test.db*")}
    assert left == {"test.db"} and (settings.data / "test.db").stat().st_mode & 0o777 == 0o600
    await _reopen(place, settings)
    assert {each.number: each.kind for each in await volumes.of(place.db, runtime.id)} == {
        0: Kind.LIVE, 1: Kind.SNAPSHOT
    }  # fmt: skip
    assert await usage.offset(place.db, "usage") == 0 and await place.db.fetch("SELECT id FROM usage") == []
    audit = await ground.open_audit(place.db, settings)
    assert [each.action for each in await audit.latest()] == ["backup put back", "made"]
    assert not (await audit.verify()).why
    await place.orchestrate()  # it is wanted running, as then
    await place.until(runtime, Phase.READY)
    for number in (0, 1):
        assert await inside(place, runtime.id, number, "cat kept") == "later\n"
    await place.loop.stop()  # type: ignore[attr-defined]
    place.loop = None
    await place.db.close()
    back = await restore(settings, done.kept)  # and the way back, to what was in use before
    assert back.found == ()
    await _reopen(place, settings)
    assert [row["id"] for row in await place.db.fetch("SELECT id FROM usage")] == ["1" * 32]
    snapshot = await volumes.get(place.db, runtime.id, 1)
    assert snapshot is not None and snapshot.note == "Later"


Spoil = Callable[[Path, Path], None]


def _damage(backup: Path, _: Path) -> None:
    whole = backup.read_bytes()
    backup.write_bytes(whole[: len(whole) // 2] + b"\xff" * 9000 + whole[len(whole) // 2 + 9000 :])


def _other_key(_: Path, keys: Path) -> None:
    write_key(keys / "master.key", "cd" * 32)


def _newer(backup: Path, _: Path) -> None:
    raw = sqlite3.connect(backup)
    raw.execute("INSERT INTO schema_migrations VALUES (9999, '9999_later.sql', '', 0)")
    raw.commit()
    raw.close()


def _no_database(backup: Path, _: Path) -> None:
    backup.write_bytes(b"not a database at all" * 1000)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_damage, r"is damaged|malformed|cannot be opened"),
        (_other_key, "does not belong to this database"),
        (_newer, "newer version"),
        (_no_database, "is not a SQLite database"),
    ],
)
async def test_what_cannot_be_put_back_changes_nothing(
    place: Place, settings: Settings, spoil: Spoil, told: str
) -> None:
    name = await _backup(place, settings)
    await usage.settle(place.db, [call(id="1" * 32)], log="usage", offset=77)
    await place.db.close()
    spoil(settings.data / "backups" / name, settings.data / "keys")
    with pytest.raises(SetupError, match=told):
        await restore(settings, name)
    assert {each.name for each in settings.data.glob("test.db*")} == {"test.db"}
    assert [each.name for each in await backups.every(settings.data / "backups")] == [name]
    await _reopen(place, settings)
    assert [row["id"] for row in await place.db.fetch("SELECT id FROM usage")] == ["1" * 32]


@pytest.mark.faults
async def test_a_store_that_is_damaged_is_kept_as_it_lies_there(place: Place, settings: Settings) -> None:
    name = await _backup(place, settings)
    await place.db.close()
    (settings.data / "test.db").write_bytes(b"not a database at all" * 1000)
    (settings.data / "test.db-wal").write_bytes(b"nor is this its log")
    done = await restore(settings, name)
    kept = settings.data / "backups" / done.kept
    assert (
        kept.read_bytes().startswith(b"not a database") and Path(f"{kept}-wal").read_bytes() == b"nor is this its log"
    )
    await _reopen(place, settings)
    assert (await (await ground.open_audit(place.db, settings)).verify()).entries == 2


async def test_nothing_is_put_back_under_a_running_control_plane_or_by_a_wrong_name(
    place: Place, settings: Settings
) -> None:
    name = await _backup(place, settings)
    with pytest.raises(NotFound, match="backup list"):
        await restore(settings, "../" + name)
    async with ground.leadership(settings):
        with pytest.raises(SetupError, match="a control plane runs on this data"):
            await restore(settings, name)


def test_from_a_shell(
    place: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in {"INSTALL_ID": place.install_id, "DATA": str(settings.data), "ENGINE": place.url,
                       "DATABASE_URL": settings.database_url}.items():  # fmt: skip
        monkeypatch.setenv(f"CLAWLOOPS_{key}", value)

    def say(*words: str) -> tuple[int, str, str]:
        status = main(["backup", *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    status, told, _ = say("make", "--json")
    name = json.loads(told)["name"]
    assert status == 0 and "-asked-" in name
    assert name in say("list")[1]
    assert [each["name"] for each in json.loads(say("list", "--json")[1])] == [name]
    status, told, _ = say("restore", name)
    assert status == 0 and f"{name} is in place" in told and "kept as test-before-restore-" in told
    assert json.loads(say("restore", name, "--json")[1])["name"] == name
    assert say("remove", name) == (0, f"{name}: removed.\n", "")
    status, told, wrong = say("remove", name)
    assert (status, told) == (1, "") and "There is no such backup" in wrong
