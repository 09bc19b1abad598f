"""The chain of the audit on both databases: it holds under load, and shows every change but a cut at its end."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.control.audit import Audit
from clawloops.errors import SetupError
from clawloops.model.audit import AuditEntry, Wanted
from clawloops.model.report import DAY_MS
from clawloops.store import audit as entries
from clawloops.store import meta
from clawloops.store.db import Database, open_database
from clawloops.store.own_keys import audit_key
from clawloops.store.seal import Sealer
from tests.store.rows import NOW

KEY = bytes(range(32))
SEALER = Sealer(b"m" * 32, install_id="0a1b2c3d")


@pytest.fixture
async def chain(db: Database) -> Audit:
    """Five entries."""
    audit = Audit(db, KEY)
    for number in range(5):
        await audit.record("u-ada" if number else None, "signed in", f"s-{number}", 'with "quotes", commas and ümlauts')
    return audit


async def test_a_chain_as_it_was_written_holds(db: Database, chain: Audit) -> None:
    found = await chain.verify()
    newest = (await chain.latest(1))[0]
    assert (found.entries, found.unchained, found.why, found.head) == (5, 0, "", newest.hash)
    assert await chain.verify(head=newest.hash or "") == found


async def test_an_empty_audit_holds(db: Database) -> None:
    found = await Audit(db, KEY).verify()
    assert (found.entries, found.head, found.why) == (0, "", "")


@pytest.mark.parametrize(
    ("change", "seq", "why"),
    [
        ("UPDATE audit SET detail = 'other' WHERE seq = 3", 3, "changed"),
        ("UPDATE audit SET actor = NULL WHERE seq = 3", 3, "changed"),
        ("UPDATE audit SET actor = '' WHERE seq = 1", 1, "changed"),
        ("UPDATE audit SET at = at + 1 WHERE seq = 3", 3, "changed"),
        ("UPDATE audit SET subject = action, action = subject WHERE seq = 2", 2, "changed"),
        ("UPDATE audit SET hash = prev WHERE seq = 5", 5, "changed"),
        ("UPDATE audit SET hash = NULL WHERE seq = 4", 4, "lost its hash"),
        ("UPDATE audit SET hash = NULL, prev = NULL WHERE seq = 1", 2, "missing"),
        ("DELETE FROM audit WHERE seq = 1", 2, "missing"),
        ("DELETE FROM audit WHERE seq = 3", 4, "missing"),
        ("UPDATE audit SET seq = 9 WHERE seq = 2", 3, "missing"),
        ("INSERT INTO audit (at, actor, action, subject, detail) VALUES (1, NULL, 'a', 'b', 'c')", 6, "lost its hash"),
    ],
)
async def test_a_change_is_found_where_it_was_made(db: Database, chain: Audit, change: str, seq: int, why: str) -> None:
    assert await db.execute(change) == 1
    found = await chain.verify()
    assert found.seq == seq and why in found.why
    assert found.entries < 5 or seq == 6


async def test_nobody_without_the_key_can_go_on_with_the_chain(db: Database, chain: Audit) -> None:
    await Audit(db, b"another key").record(None, "nothing happened", "")
    found = await chain.verify()
    assert (found.seq, found.entries) == (6, 5) and "somebody else" in found.why


async def test_a_cut_at_the_end_is_found_by_a_hash_that_was_noted(db: Database, chain: Audit) -> None:
    noted = (await chain.verify()).head
    await db.execute("DELETE FROM audit WHERE seq > 3")
    assert (await chain.verify()).why == ""
    assert "cut off" in (await chain.verify(head=noted)).why


async def test_entries_from_before_the_chain_are_told_apart(db: Database) -> None:
    for _ in range(3):
        await db.execute("INSERT INTO audit (at, actor, action, subject, detail) VALUES (1, NULL, 'a', 'b', 'c')")
    audit = Audit(db, KEY)
    await audit.record(None, "signed in", "u")
    await audit.record(None, "signed out", "u")
    found = await audit.verify()
    assert (found.unchained, found.entries, found.why) == (3, 2, "")


async def test_entries_written_at_once_by_two_processes_are_one_chain(url: str, db: Database) -> None:
    other = await open_database(url)
    try:
        mine, theirs = Audit(db, KEY), Audit(other, KEY)
        await asyncio.gather(*(each.record(None, "signed in", f"u{n}") for n in range(25) for each in (mine, theirs)))
        assert ((await mine.verify()).entries, (await theirs.verify()).why) == (50, "")
    finally:
        await other.close()


async def test_an_entry_of_a_change_that_was_undone_leaves_no_gap(db: Database, chain: Audit) -> None:
    with pytest.raises(RuntimeError):
        async with db.transaction():
            await chain.record("u-ada", "budget set", "b")
            raise RuntimeError("undone")
    await chain.record("u-ada", "budget set", "b")
    assert (await chain.verify()).entries == 6


async def test_more_entries_than_a_page_are_followed(db: Database) -> None:
    audit = Audit(db, KEY)
    async with db.transaction():
        for number in range(1003):
            await audit.record(None, "signed in", str(number))
    assert (await audit.verify()).entries == 1003


async def test_the_key_is_made_once_and_kept_sealed(db: Database) -> None:
    made = await audit_key(db, SEALER)
    assert len(made) == 32 and await audit_key(db, SEALER) == made
    text = await meta.get(db, "audit:key") or ""
    assert made.hex() not in text
    with pytest.raises(SetupError, match="another master"):
        await audit_key(db, Sealer(b"n" * 32, install_id="0a1b2c3d"))
    for broken in ("{}", "nonsense", text.replace('"version": 1', '"version": 2')):
        await meta.put(db, "audit:key", broken)
        with pytest.raises(SetupError, match="restore a backup"):
            await audit_key(db, SEALER)


async def test_there_is_no_way_to_change_an_entry(db: Database) -> None:
    assert {name for name in vars(entries) if not name.startswith("_") and callable(getattr(entries, name))} == {
        *("Any", "AuditEntry", "Database", "Wanted", "add", "after", "find", "latest", "link"),
    }


FIRST = NOW - NOW % DAY_MS


async def test_what_is_looked_for_is_found_on_both_databases(db: Database) -> None:
    said = [
        (FIRST - 1, "u-ada", "signed in", "", "with a password"),
        (FIRST, None, "isolation broken", "all", "100% of it_"),
        (FIRST + DAY_MS, "u-ada", "key MADE", "laptop", "Ümlaut"),
        (FIRST + 2 * DAY_MS, "u-bob", "signed in", "", "1000 of it"),
    ]
    for at, actor, action, subject, detail in said:
        await entries.add(db, b"key", at, actor, action, subject, detail)

    async def numbers(wanted: Wanted, limit: int = 9, before: int = 2**62) -> list[int]:
        found: list[AuditEntry] = await entries.find(db, wanted, limit, before=before)
        return [next(n for n, row in enumerate(said) if row[0] == each.at) for each in found]

    assert await numbers(Wanted()) == [3, 2, 1, 0]
    assert await numbers(Wanted(), limit=2) == [3, 2]
    assert await numbers(Wanted(actor="u-ada")) == [2, 0] and await numbers(Wanted(actor=None)) == [1]
    assert await numbers(Wanted(since=FIRST, until=FIRST + 2 * DAY_MS)) == [2, 1]
    assert await numbers(Wanted(words="Key Made LAP")) == [2], "over the borders of fields, in any case"
    assert await numbers(Wanted(words="100% of it_")) == [1], "what LIKE takes for more than itself is itself"
    assert await numbers(Wanted(words="!")) == [] and await numbers(Wanted(words="'; DROP TABLE audit")) == []
    second = (await entries.find(db, Wanted(), 2, before=2**62))[-1].seq
    assert await numbers(Wanted(), before=second) == [1, 0]
