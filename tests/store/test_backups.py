"""Copies of the store: made while it is in use, told apart by their names, and settled when one is put back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from clawloops.errors import SetupError
from clawloops.model.backup import KEPT_DAYS, Backup, Reason, expired, name_of, read
from clawloops.model.report import DAY_MS
from clawloops.model.runtime import Want
from clawloops.model.workspace import Job, JobState, Kind, Task
from clawloops.store import backups, jobs, sessions, users, volumes
from clawloops.store import runtimes as rows
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate, shipped
from tests.store.rows import NOW, runtime, session, user


@pytest.mark.parametrize("reason", Reason)
def test_a_name_says_why_and_when(reason: Reason) -> None:
    name = name_of("my-box.db-2", reason, NOW, schema=19)
    assert read(name, 7) == Backup(name, reason, NOW, 7)


@pytest.mark.parametrize(
    "name", ["clawloops.db", "clawloops-daily-20261128T2013Z.db", "clawloops-daily-20261328T201357Z.db", "x.db.part",
             "../clawloops-daily-20261128T201357Z.db", "clawloops-daily-20261128T201357Z.db-wal"],
)  # fmt: skip
def test_other_files_are_no_backups(name: str) -> None:
    assert read(name, 7) is None


def test_daily_ones_have_their_time_and_no_others() -> None:
    every = [
        Backup(f"{reason}{day}", reason, NOW - day * DAY_MS, 1)
        for day in range(KEPT_DAYS + 2)
        for reason in reversed(Reason)
    ]
    assert [each.name for each in expired(every)] == [f"daily{KEPT_DAYS}", f"daily{KEPT_DAYS + 1}"]


async def test_a_copy_is_made_while_somebody_writes_and_holds_what_was_committed(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/store.db")
    await migrate(db, backup_dir=None)
    await users.add(db, user("ada"))
    async with db.transaction():
        await users.add(db, user("ben"))
        made = await backups.make(db, tmp_path / "backups", Reason.ASKED, now=NOW)
    assert made is not None and await backups.every(tmp_path / "backups") == [made]
    assert (tmp_path / "backups" / made.name).stat().st_mode & 0o777 == 0o600
    raw = sqlite3.connect(tmp_path / "backups" / made.name)
    assert raw.execute("SELECT login FROM users").fetchall() == [("ada",)]
    raw.close()
    await backups.remove(tmp_path / "backups", made)
    await backups.remove(tmp_path / "backups", made)
    assert await backups.every(tmp_path / "backups") == []
    await db.close()


async def test_a_disk_that_is_in_the_way_leaves_no_half_copy(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/store.db")
    await migrate(db, backup_dir=None)
    name = name_of("store", Reason.DAILY, NOW)
    (tmp_path / "backups" / name).mkdir(parents=True)
    with pytest.raises(SetupError, match="cannot be backed up"):
        await backups.make(db, tmp_path / "backups", Reason.DAILY, now=NOW)
    assert [each.name for each in (tmp_path / "backups").iterdir()] == [name]
    assert await backups.every(tmp_path / "backups") == []
    await db.close()


async def test_postgresql_is_left_to_its_own_tool(db: Database, tmp_path: Path) -> None:
    made = await backups.make(db, tmp_path / "mine", Reason.ASKED, now=NOW)
    assert (made is None) == (db.dialect == "postgresql") == (not (tmp_path / "mine").exists())


async def test_no_volume_is_lost_by_what_a_store_of_before_believes(db: Database) -> None:
    for login in ("ada", "ben"):
        await users.add(db, user(login))
        await rows.add(db, runtime(f"u-{login}", subnet=f"10.0.{len(login + login[0])}.{8 * (login == 'ben')}/29"))
    ada, ben = "r-u-ada", "r-u-ben"
    made = await rows.get(db, ada)
    assert made is not None
    made = await volumes.used(db, made, image="openclaw:1", now=NOW)
    filling = await volumes.begin(db, ada, note="half", image="openclaw:1", now=NOW)
    lost = await volumes.begin(db, ada, note="half, too", image="openclaw:1", now=NOW)
    upgraded = await volumes.begin(db, ada, note="new", image="openclaw:2", now=NOW)
    await volumes.swap(db, made, upgraded, now=NOW, note="old", image="openclaw:2", before_image="openclaw:1")
    await jobs.add(db, Job("j1", ada, Task.UPGRADE, "openclaw:2", JobState.RUNNING, "", None, NOW, 0))
    await sessions.add(db, session())
    there = {(ada, 0), (ada, filling), (ada, upgraded), (ada, 9), (ben, 0), ("r-of-nobody", 0)}

    found = await backups.settle(db, there, image="openclaw:3", now=NOW + DAY_MS)

    assert found == [(ada, filling), (ada, 9), (ben, 0)]
    kept = {each.number: each for each in await volumes.of(db, ada)}
    assert {number: each.kind for number, each in kept.items()} == {
        0: Kind.TRASH, filling: Kind.SNAPSHOT, lost: Kind.FILLING, upgraded: Kind.LIVE, 9: Kind.SNAPSHOT,
    }  # fmt: skip
    assert kept[0].ended_at == NOW + DAY_MS and kept[9].image == "openclaw:2" and "put back" in kept[9].note
    now = await rows.get(db, ada)
    assert now is not None and (now.before_image, now.volume) == ("", upgraded)
    (job,) = await jobs.of(db, ada)
    assert job.state is JobState.FAILED and job.ended_at == NOW + DAY_MS
    first = await rows.get(db, ben)
    assert first is not None and (first.want, first.image, first.volume_at) == (
        Want.STOPPED,
        "openclaw:3",
        NOW + DAY_MS,
    )
    assert [each.kind for each in await volumes.of(db, ben)] == [Kind.LIVE]
    assert await db.fetch("SELECT hash FROM sessions") == []


async def test_a_store_of_the_first_schema_is_settled_after_its_migration(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/store.db")
    await migrate(db, backup_dir=None, migrations=shipped()[:1])
    await migrate(db, backup_dir=None)
    assert not list(tmp_path.glob("*schema*"))
    assert await backups.settle(db, {("r1", 0)}, image="openclaw:3", now=NOW) == []
    await db.close()
