"""Rows behind the JSON API: tokens and what falls with them, and lists that are read a page at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.errors import Conflict
from clawloops.model.egress import Outcome, Receipt
from clawloops.model.key import ApiKey
from clawloops.model.token import PersonalToken, TokenScope
from clawloops.store import audit, egress, invitations, keys, runtimes, tokens, users
from clawloops.store.db import Database
from tests.store import rows

LAST = 2**62
TOKEN = PersonalToken(
    "t1", "u1", "script", b"t" * 32, "clt_x", frozenset({TokenScope.ME_READ, TokenScope.KEYS_WRITE}), 1, 2
)


@pytest.fixture
async def peopled(db: Database) -> Database:
    await users.add(db, replace(rows.user(), id="u1", login="mia"))
    return db


async def test_a_token_comes_back_as_it_was_and_its_last_use_only_goes_on(peopled: Database) -> None:
    await tokens.add(peopled, TOKEN)
    assert await tokens.all(peopled) == [TOKEN]
    with pytest.raises(Conflict):
        await tokens.add(peopled, replace(TOKEN, id="t2", token_hash=b"u" * 32))
    for at in (5, 3):
        await tokens.touch(peopled, "t1", at)
    assert await tokens.all(peopled) == [replace(TOKEN, used_at=5)]
    assert not await tokens.delete(peopled, "t1", "u2") and await tokens.delete(peopled, "t1", "u1")


async def test_with_a_token_falls_what_was_made_with_it(peopled: Database) -> None:
    await tokens.add(peopled, TOKEN)
    own = ApiKey("k1", "u1", "own", b"1" * 32, "clk_", frozenset(), 1, 0)
    made = replace(own, id="k2", name="made", token_hash=b"2" * 32, token_id="t1")
    for key in (own, made):
        await keys.add(peopled, key)
    assert await keys.all(peopled) == [own, made]
    assert await tokens.delete_user(peopled, "u1") == 1
    assert await keys.all(peopled) == [own]
    with pytest.raises(Conflict):
        await keys.add(peopled, made)


async def test_pages_begin_behind_what_was_seen(peopled: Database) -> None:
    for number in range(3):
        await audit.add(peopled, b"key", number, None, "noted", "", "")
    newest = await audit.latest(peopled, 1)
    assert [each.at for each in await audit.latest(peopled, 5, before=newest[0].seq)] == [1, 0]
    at = 3_600_000
    receipts = [
        Receipt("u1", hour * at, host, port, Outcome.PASSED, "", 1, 0, 0, 1, 1)
        for hour in (2, 1)
        for host, port in (("a.example", 22), ("a.example", 443), ("b.example", 443))
    ]
    await egress.add_receipts(peopled, list(reversed(receipts)))
    seen: list[Receipt] = []
    after = (LAST, "", 0, "")
    while page := await egress.receipts_after(peopled, "u1", after, limit=2):
        seen += page
        after = (page[-1].hour, page[-1].host, page[-1].port, page[-1].outcome.value)
    assert seen == receipts
    assert await egress.receipts_after(peopled, "u1", (LAST, "x", -LAST, "x"), limit=9) == receipts
    assert await runtimes.page(peopled, (-LAST, ""), 9) == []
    assert await invitations.page(peopled, 1, (LAST, ""), 9) == []
