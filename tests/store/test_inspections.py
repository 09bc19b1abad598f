"""Rows of inspections: one open at a time for an admin and a workspace, ended once, and kept."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest

from clawloops.errors import Conflict
from clawloops.model.inspection import Ending, Inspection
from clawloops.store import inspections, runtimes, sessions, users
from clawloops.store.db import Database
from tests.store import rows
from tests.store.rows import NOW

HOUR_MS = 3_600_000


def _inspection(number: int = 1, admin: str = "u-olga", **changes: object) -> Inspection:
    made = Inspection(
        f"n{number}", admin, "r-u-ada", "u-ada", "slug-u-ada", secrets.token_bytes(32), "Why", NOW, NOW + HOUR_MS
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def people(db: Database) -> Database:
    for login in ("ada", "olga", "grace"):
        await users.add(db, rows.user(login))
    await runtimes.add(db, rows.runtime())
    return db


async def test_one_is_read_as_it_was_kept_with_its_workspaces_member(people: Database) -> None:
    made = _inspection()
    await inspections.add(people, made)
    assert await inspections.all_open(people) == [made] == await inspections.of(people, "r-u-ada", limit=9)


async def test_of_one_admin_only_one_is_open_at_a_workspace(people: Database) -> None:
    came_of = await asyncio.gather(
        *(inspections.add(people, _inspection(number)) for number in range(4)), return_exceptions=True
    )
    assert [type(each) for each in came_of if each is not None] == [Conflict] * 3
    await inspections.add(people, _inspection(9, "u-grace"))
    (first, _) = await inspections.all_open(people)
    assert await inspections.end(people, first.id, at=NOW + 5, ending=Ending.DONE, by="u-olga")
    await inspections.add(people, _inspection(10))


async def test_of_many_who_end_it_one_has_ended_it(people: Database) -> None:
    await inspections.add(people, _inspection())
    came_of = await asyncio.gather(
        *(inspections.end(people, "n1", at=NOW + each, ending=Ending.TIME, by=None) for each in range(6))
    )
    assert came_of.count(True) == 1
    assert not await inspections.end(people, "n1", at=NOW, ending=Ending.DONE, by="u-olga")
    (kept,) = await inspections.of(people, "r-u-ada", limit=9)
    assert (kept.ending, kept.ended_by) == (Ending.TIME, None) and await inspections.all_open(people) == []


async def test_what_ended_stays_with_its_use_newest_first(people: Database) -> None:
    await inspections.add(people, _inspection())
    await inspections.note_use(people, "n1", NOW + 1, NOW + 2)
    await inspections.end(people, "n1", at=NOW + 3, ending=Ending.OBJECTION, by="u-ada")
    await inspections.add(people, _inspection(2, opened_at=NOW + 4))
    newer, older = await inspections.of(people, "r-u-ada", limit=9)
    assert newer.id == "n2" and (older.first_at, older.last_at, older.ended_at) == (NOW + 1, NOW + 2, NOW + 3)
    assert await inspections.of(people, "r-u-ada", limit=1) == [newer]


async def test_sessions_that_rest_on_one_are_kept_and_ended_apart_from_others(people: Database) -> None:
    made = _inspection()
    await inspections.add(people, made)
    parent = rows.session("u-olga", hash=made.session)
    resting = rows.workspace_session(parent, made.runtime_id, inspection=made.id)
    for each in (parent, resting):
        await sessions.add(people, each)
    assert await sessions.all_live(people, NOW) == [parent, resting]
    await sessions.delete_inspection(people, made.id)
    assert await sessions.all_live(people, NOW) == [parent]
    with pytest.raises(Conflict):
        await sessions.add(people, replace(resting, inspection="n0"))
