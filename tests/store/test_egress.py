"""Rules, policies and receipts of the way to the internet, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.model.egress import EVERYBODY, Mode, Outcome, Policy, Receipt, Rule, Source
from clawloops.store import egress, users
from clawloops.store.db import Database
from tests.store import rows

HOUR = 3_600_000
AT = 5 * HOUR
RECEIPT = Receipt("u-ada", AT, "example.org", 443, Outcome.PASSED, "1.1.1.1", 2, 100, 900, AT + 1, AT + 9)


@pytest.fixture
async def db(db: Database) -> Database:
    for login in ("ada", "mia"):
        await users.add(db, rows.user(login))
    return db


async def test_a_new_box_has_a_list_for_everybody_and_asks_about_the_rest(db: Database) -> None:
    assert await egress.usual(db) == Policy(Mode.LISTED, asks=True)
    assert await egress.policies(db) == {}
    found = await egress.rules(db)
    assert {rule.user_id for rule in found} == {EVERYBODY}
    assert {"github.com", "api.telegram.org"} <= {rule.host for rule in found if rule.allows}
    assert {rule.host for rule in found if not rule.allows} == {"gravatar.com", "*.gravatar.com"}


async def test_policies_are_kept_and_given_back(db: Database) -> None:
    await egress.set_usual(db, Policy(Mode.OPEN, asks=False))
    await egress.set_policy(db, "u-ada", Policy(Mode.LEARNING, asks=True))
    await egress.set_policy(db, "u-ada", Policy(Mode.NONE, asks=False))
    assert await egress.usual(db) == Policy(Mode.OPEN, asks=False)
    assert await egress.policies(db) == {"u-ada": Policy(Mode.NONE, asks=False)}
    await egress.set_policy(db, "u-ada", None)
    assert await egress.policies(db) == {}


async def test_there_is_one_rule_for_each_place_and_member(db: Database) -> None:
    first = Rule("e1", "u-ada", "a.test", 0, True, Source.LEARNED, 5)
    await egress.put_rule(db, first)
    await egress.put_rule(db, replace(first, id="e2", allows=False, source=Source.SET, created_at=9))
    await egress.put_rule(db, replace(first, id="e3", user_id="u-mia"))
    await egress.put_rule(db, replace(first, id="e4", port=8443))
    mine = await egress.rules(db, "u-ada")
    assert mine == [replace(first, allows=False, source=Source.SET), replace(first, id="e4", port=8443)]
    assert await egress.delete_rule(db, "e1", "u-mia") is None
    assert await egress.delete_rule(db, "e1", "u-ada") == mine[0]
    assert [rule.id for rule in await egress.rules(db, "u-ada")] == ["e4"]


async def test_receipts_of_an_hour_add_up(db: Database) -> None:
    await egress.add_receipts(db, [RECEIPT])
    later = replace(RECEIPT, address="", connections=0, sent=5, received=7, first_at=AT + 20, last_at=AT + 30)
    denied = replace(RECEIPT, outcome=Outcome.DENIED, address="", sent=0, received=0, last_at=AT + 8)
    await egress.add_receipts(db, [later, denied, replace(RECEIPT, hour=6 * HOUR), replace(RECEIPT, user_id="u-mia")])
    summed = replace(RECEIPT, sent=105, received=907, last_at=AT + 30)
    assert await egress.receipts(db, "u-ada", limit=9) == [replace(RECEIPT, hour=6 * HOUR), summed, denied]
    assert await egress.receipts(db, "u-ada", limit=1, skip=1) == [summed]
    assert await egress.forget_receipts(db, 6 * HOUR) == 3
    assert await egress.receipts(db, "u-mia", limit=9) == []
