"""One backup a day by itself, as many as an admin asks for within reason, and none for whoever is no admin."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.backups import MOST_ASKED, Backups
from clawloops.errors import Conflict, Forbidden, NotFound, Unavailable
from clawloops.model.account import Role
from clawloops.model.backup import KEPT_DAYS, Reason, name_of
from clawloops.model.report import DAY_MS
from clawloops.store.db import Database
from tests.store.rows import user

ADMIN = user("olga", role=Role.ADMIN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def kept(db: Database, folder: Path) -> Backups:
    return Backups(db, Audit(db, b"key"), folder)


async def _looked(kept: Backups) -> None:
    """After it has looked a few times whether one is due."""
    running = asyncio.create_task(kept.run(every_s=0.02))
    await asyncio.sleep(0.3)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _older(folder: Path, reason: Reason, days: float) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name_of("store", reason, now_ms() - int(days * DAY_MS))).write_bytes(b"old")


async def test_one_is_made_each_day_and_the_last_seven_are_kept(kept: Backups, folder: Path) -> None:
    for day in range(1, KEPT_DAYS + 2):
        _older(folder, Reason.DAILY, day + 0.01)
        _older(folder, Reason.UPGRADE, day)
    await _looked(kept)
    every = await kept.all(by=ADMIN)
    assert sum(each.reason is Reason.UPGRADE for each in every) == KEPT_DAYS + 1
    daily = [each for each in every if each.reason is Reason.DAILY]
    assert len(daily) == KEPT_DAYS and now_ms() - daily[0].made_at < 60_000 and daily[0].size > 10_000
    assert daily[-1].made_at > now_ms() - KEPT_DAYS * DAY_MS
    await _looked(kept)
    assert await kept.all(by=ADMIN) == every


async def test_a_day_that_fails_is_tried_again(kept: Backups, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("in the way")
    await _looked(kept)
    assert "the backup of the day was not made" in caplog.text
    folder.unlink()
    await _looked(kept)
    assert [each.reason for each in await kept.all(by=ADMIN)] == [Reason.DAILY]


async def test_who_asks_gets_one_until_there_are_too_many(kept: Backups, folder: Path) -> None:
    made = await kept.make(by=ADMIN)
    assert await kept.all(by=ADMIN) == [made] and made.reason is Reason.ASKED
    for day in range(1, MOST_ASKED):
        _older(folder, Reason.ASKED, day)
    with pytest.raises(Conflict, match="Remove one first"):
        await kept.make(by=ADMIN)
    await kept.remove(made.name, by=ADMIN)
    await kept.make(by=ADMIN)
    with pytest.raises(NotFound):
        await kept.remove("../store.db", by=ADMIN)
    assert (folder.parent / "store.db").exists()


async def test_what_is_in_the_way_is_told(kept: Backups, folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(Unavailable, match="cannot be made"):
        await kept.make(by=ADMIN)


@pytest.mark.attacks
async def test_only_admins_change_them_and_members_do_not_see_them(kept: Backups) -> None:
    made = await kept.make(by=ADMIN)
    for role in (Role.MEMBER, Role.VIEWER):
        somebody = replace(ADMIN, role=role)
        with pytest.raises(Forbidden):
            await kept.make(by=somebody)
        with pytest.raises(Forbidden):
            await kept.remove(made.name, by=somebody)
    assert await kept.all(by=replace(ADMIN, role=Role.VIEWER)) == [made]
    with pytest.raises(Forbidden):
        await kept.all(by=replace(ADMIN, role=Role.MEMBER))
