"""Decoy keys: which text is one, what a use of one brings about, and how an admin ends it."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from clawloops.control.audit import Audit
from clawloops.control.decoys import MOST, Decoys
from clawloops.errors import Forbidden, NotFound, Unavailable
from clawloops.model.account import Role, User
from clawloops.model.audit import NO_END
from clawloops.model.decoy import Consequence, Decoy, DecoyKeys, Place
from clawloops.model.key import PREFIX
from clawloops.orchestrator.walls import Walls
from clawloops.store import decoys as decoy_rows
from clawloops.store import events, runtimes, users
from clawloops.store.db import Database
from tests.store import rows

KEYS = DecoyKeys(b"k" * 32)
ADA = "r" + "ada0" * 4
MIA = "r" + "b0b0" * 4
THIEF = "203.0.113.9"
OLGA = User("u-olga", "olga", "Olga", Role.OWNER, "-", None, 1)


def _decoy(runtime_id: str = ADA, generation: int = 3, number: int = 0) -> str:
    return KEYS.make(Decoy(runtime_id, generation, number))


@dataclass
class Yard:
    """The service, with walls that hold for real."""

    db: Database
    audit: Audit
    walls: Walls = field(default_factory=Walls)
    woken: list[str] = field(default_factory=list)
    beside: list[asyncio.Task[None]] = field(default_factory=list)

    def open(self) -> Decoys:
        return Decoys(
            self.db,
            self.audit,
            KEYS,
            keep=self.keep,
            hold=self.walls.hold,
            let_go=self.walls.let_go,
            wake=self.woken.append,
        )

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        self.beside.append(asyncio.create_task(work))

    async def restarted(self) -> Decoys:
        """Another process on the same database, once everything that went on beside has ended."""
        await asyncio.gather(*self.beside)
        self.walls = Walls()
        opened = self.open()
        await opened.load()
        return opened

    async def entries(self, action: str = "decoy key used") -> list[tuple[str, str]]:
        await asyncio.gather(*self.beside)
        return [(each.subject, each.detail) for each in reversed(await self.audit.latest()) if each.action == action]


@pytest.fixture
async def yard(db: Database) -> Yard:
    await users.add(db, OLGA)
    for number, (login, runtime_id) in enumerate((("ada", ADA), ("mia", MIA))):
        await users.add(db, rows.user(login))
        subnet = f"10.0.0.{number * 8}/29"
        await runtimes.add(db, rows.runtime(f"u-{login}", id=runtime_id, slug=login, subnet=subnet))
    return Yard(db, Audit(db, b"key"))


@pytest.fixture
async def decoys(yard: Yard) -> Decoys:
    return await yard.restarted()


def test_a_decoy_looks_like_a_key_and_tells_whose_it_is() -> None:
    real = PREFIX + secrets.token_urlsafe(32)
    made = {_decoy(), _decoy(generation=4), _decoy(number=1), _decoy(MIA)}
    assert len(made) == 4 and {len(each) for each in made} == {len(real)}
    assert KEYS.find(_decoy(number=7)) == Decoy(ADA, 3, 7)
    assert not any(each[len(PREFIX) :][:8] == other[len(PREFIX) :][:8] for each in made for other in made - {each})
    assert KEYS.find(real) is None
    with pytest.raises(ValueError, match="non-hexadecimal"):
        _decoy("r-olga")


def test_it_is_found_wherever_somebody_puts_it() -> None:
    decoy = _decoy()
    basic = base64.b64encode(f"me:{decoy}".encode()).decode()
    for text in (
        f"Bearer {decoy}",
        f"GET http://x.test/?key={decoy}&a=b HTTP/1.1\r\n",
        f"x\nAuthorization: bAsIc {basic}\r\n",
        f"{PREFIX}{'A' * 43} {decoy}",
    ):
        assert KEYS.find(text) == Decoy(ADA, 3, 0), text


@pytest.mark.attacks
def test_nobody_makes_one_without_the_key_and_noise_is_none() -> None:
    decoy = _decoy()
    assert DecoyKeys(b"o" * 32).find(decoy) is None
    for at in range(len(PREFIX), len(decoy) - 1):
        other = "A" if decoy[at] != "A" else "B"
        assert KEYS.find(decoy[:at] + other + decoy[at + 1 :]) is None, at
    for text in ("", decoy[:-1], decoy + "x", decoy.upper(), "Basic !", "Basic A", "Basic " + "A" * 30_000, "\udcff"):
        assert KEYS.find(text) is None, text[:60]


@pytest.mark.attacks
async def test_a_use_stops_the_workspace_and_is_told_until_an_admin_takes_note(yard: Yard, decoys: Decoys) -> None:
    assert decoys.spot(f"Bearer {_decoy()}", Place.TOOLS, THIEF)
    assert yard.walls.held == {ADA} and yard.woken == [ADA]
    assert THIEF in yard.walls.why(ADA) and "admin" in yard.walls.why(ADA)
    assert "the workspace ada was used to call a model from outside, by 203.0.113.9. The work" in decoys.alarm
    assert await yard.entries() == [
        ("ada", f"to call a model from outside, by {THIEF}; it was put into container 3, which is stopped")
    ]
    assert "so it was stopped" in (await events.of(yard.db, ADA, limit=5))[0].text
    decoys = await yard.restarted()
    assert yard.walls.held == {ADA} and "is stopped" in decoys.alarm, "also after a restart"
    await decoys.acknowledge(ADA, seen=NO_END, by=OLGA)
    assert (yard.walls.held, decoys.alarm, decoys.alarms()) == (frozenset(), "", [])
    assert await yard.entries("decoy key renewed") == [("ada", "used once")]
    row = await runtimes.get(yard.db, ADA)
    assert row is not None and row.decoy == 1 and yard.woken[-1] == ADA
    decoys = await yard.restarted()
    assert (yard.walls.held, decoys.alarm) == (frozenset(), "")


async def test_what_an_admin_took_note_of_is_refused_and_tells_nothing_new(yard: Yard, decoys: Decoys) -> None:
    decoys.spot(_decoy(), Place.TOOLS, THIEF)
    await decoys.acknowledge(ADA, seen=NO_END, by=OLGA)
    for again in (decoys, await yard.restarted()):
        assert again.spot(_decoy(generation=9), Place.TOOLS, THIEF) and again.alarm == ""
        assert yard.walls.held == frozenset()
    assert again.spot(_decoy(number=1), Place.TOOLS, THIEF) and again.alarm


async def test_one_of_an_earlier_container_tells_as_much(yard: Yard, decoys: Decoys) -> None:
    assert decoys.spot(_decoy(generation=1), Place.SIGN_IN, THIEF) and yard.walls.held == {ADA}


@pytest.mark.attacks(20)
async def test_a_flood_is_one_alarm_with_a_count(yard: Yard, decoys: Decoys) -> None:
    for number in range(1000):
        decoys.spot(_decoy(), Place.TOOLS, f"203.0.113.{number % 250}")
    (alarm,) = decoys.alarms()
    assert alarm.count == 1000 and "1000 times in all" in alarm.text and len(alarm.where) == MOST + 1
    assert "others" in alarm.where[-1][0]
    assert len(await yard.entries()) == MOST + 1 and yard.woken == [ADA]
    await decoys.write()
    (again,) = (await yard.restarted()).alarms()
    assert again.count == 1000 and again.where[0] == alarm.where[0]


async def test_who_used_another_ones_decoy_is_named_and_goes_on(yard: Yard, decoys: Decoys) -> None:
    decoys.spot(_decoy(), Place.GATEWAY, MIA)
    decoys.spot(_decoy(), Place.INTERNET, ADA)
    assert yard.walls.held == {ADA}
    words = [where for where, _ in decoys.alarms()[0].where]
    assert words == [
        "to call a model, by the workspace mia",
        "on its way to the internet, by the workspace itself",
    ]


async def test_an_admin_may_be_told_alone(yard: Yard, decoys: Decoys) -> None:
    await decoys.set_consequence(Consequence.ALARM, by=OLGA)
    decoys = await yard.restarted()
    decoys.spot(_decoy(), Place.SIGN_IN, THIEF)
    assert yard.walls.held == frozenset() and "stopped" not in decoys.alarm and decoys.alarm
    await decoys.set_consequence(Consequence.STOP, by=OLGA)
    assert yard.walls.held == frozenset(), "what was used before counts no second time"
    decoys.spot(_decoy(), Place.SIGN_IN, THIEF)
    assert yard.walls.held == {ADA} and "is stopped" in decoys.alarm
    assert len(await yard.entries()) == 2, "that it was stopped is told, too"


async def test_only_an_admin_decides(yard: Yard, decoys: Decoys) -> None:
    decoys.spot(_decoy(), Place.TOOLS, THIEF)
    with pytest.raises(Forbidden):
        await decoys.acknowledge(ADA, seen=NO_END, by=rows.user("ada"))
    with pytest.raises(Forbidden):
        await decoys.set_consequence(Consequence.ALARM, by=rows.user("ada"))
    assert yard.walls.held == {ADA} and decoys.consequence is Consequence.STOP
    with pytest.raises(NotFound):
        await decoys.acknowledge(MIA, seen=NO_END, by=OLGA)


async def test_two_admins_at_once_renew_it_once(yard: Yard, decoys: Decoys) -> None:
    decoys.spot(_decoy(), Place.TOOLS, THIEF)
    both = (decoys.acknowledge(ADA, seen=NO_END, by=OLGA) for _ in range(2))
    done = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each) for each in done] == [type(None), NotFound]
    row = await runtimes.get(yard.db, ADA)
    assert row is not None and row.decoy == 1


async def test_one_whose_runtime_the_database_does_not_know_is_told_all_the_same(yard: Yard, decoys: Decoys) -> None:
    gone = "r" + "f" * 16
    decoys.spot(_decoy(gone), Place.TOOLS, THIEF)
    decoys = await yard.restarted()
    assert "a workspace that is no more" in decoys.alarm and await yard.entries()
    await decoys.acknowledge(gone, seen=NO_END, by=OLGA)
    assert decoys.alarm == "" and await decoy_rows.all(yard.db) == []


async def test_what_the_database_did_not_take_is_written_later(
    yard: Yard, decoys: Decoys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise Unavailable("the database does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(Audit, "record", refuse)
        decoys.spot(_decoy(), Place.TOOLS, THIEF)
        await asyncio.gather(*yard.beside)
        assert yard.walls.held == {ADA} and await decoy_rows.all(yard.db) == []
    await decoys.write()
    assert len(await yard.entries()) == len(await decoy_rows.all(yard.db)) == 1
