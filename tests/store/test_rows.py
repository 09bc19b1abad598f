"""Each noun's rows come back as they went in, and the database itself refuses what must not be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clawloops.errors import ClawLoopsError, Conflict, Gone, NotFound
from clawloops.model.account import Invitation, Role
from clawloops.model.audit import AuditEntry
from clawloops.model.report import DAY_MS, Month, Part, day_of, eighths_of
from clawloops.model.runtime import Want
from clawloops.model.usage import Pace, Tokens, Total
from clawloops.store import (
    audit,
    invitations,
    meta,
    runtimes,
    sessions,
    usage,
    usage_days,
    users,
)
from clawloops.store.db import Database
from clawloops.store.migrate import shipped
from clawloops.store.seal import Sealed
from tests.store import rows
from tests.store.rows import NOW

SEALED = Sealed("c1", 1, "00ff", b"\x00wrapped", b"nonce", b"\xffcipher")


async def test_a_user_comes_back_as_it_went_in(db: Database) -> None:
    ada = rows.user(role=Role.OWNER, name="Ada \U0001f980 O'Hara")
    await users.add(db, ada)
    assert await users.get(db, ada.id) == ada
    assert await users.by_login(db, "ada") == ada
    assert await users.get(db, "u-nobody") is None
    assert await users.by_login(db, "ADA") is None


async def test_a_login_is_taken_once_and_the_error_names_the_column(db: Database) -> None:
    await users.add(db, rows.user())
    with pytest.raises(Conflict, match=r"users\.login"):
        await users.add(db, rows.user(id="u-other"))


async def test_users_are_listed_first_come_first(db: Database) -> None:
    late, early = rows.user("early", created_at=NOW + 1), rows.user("zoe")
    await users.add(db, late)
    await users.add(db, early)
    assert await users.all(db) == [early, late]


async def test_a_disabled_owner_is_no_owner_to_count_on(db: Database) -> None:
    await users.add(db, rows.user("ada", role=Role.OWNER))
    await users.add(db, rows.user("bob", role=Role.OWNER))
    assert await users.count_owners(db) == 2
    await users.set_disabled(db, "u-ada", NOW)
    assert await users.count_owners(db) == 1
    await users.set_disabled(db, "u-ada", None)
    assert (await users.get(db, "u-ada")) == rows.user("ada", role=Role.OWNER)


async def test_a_new_password_replaces_the_old_one(db: Database) -> None:
    await users.add(db, rows.user())
    await users.set_password(db, "u-ada", "new")
    assert (await users.get(db, "u-ada")) == rows.user(password_hash="new")
    with pytest.raises(NotFound):
        await users.set_password(db, "u-nobody", "new")
    with pytest.raises(NotFound):
        await users.set_disabled(db, "u-nobody", NOW)


async def test_ending_a_dashboard_session_ends_its_workspace_sessions(db: Database) -> None:
    await users.add(db, rows.user())
    await runtimes.add(db, rows.runtime())
    parent, other = rows.session(), rows.session()
    for each in (parent, other, child := rows.workspace_session(parent, "r-u-ada")):
        await sessions.add(db, each)
    live = await sessions.all_live(db, NOW)
    assert sorted(live, key=lambda s: s.hash) == sorted([parent, other, child], key=lambda s: s.hash)
    assert live[-1] == child
    await sessions.delete(db, parent.hash)
    assert await sessions.all_live(db, NOW) == [other]
    await sessions.delete_user(db, "u-ada")
    assert await sessions.all_live(db, NOW) == []


async def test_a_session_is_dead_with_its_parent_its_end_or_its_user(db: Database) -> None:
    await users.add(db, rows.user())
    await runtimes.add(db, rows.runtime())
    parent = rows.session(expires_at=NOW + 10)
    await sessions.add(db, parent)
    await sessions.add(db, rows.workspace_session(parent, "r-u-ada", expires_at=NOW + 99))
    assert len(await sessions.all_live(db, NOW + 9)) == 2
    assert await sessions.all_live(db, NOW + 10) == []
    await users.set_disabled(db, "u-ada", NOW)
    assert await sessions.all_live(db, NOW) == []
    assert await sessions.delete_expired(db, NOW + 9) == 0
    assert await sessions.delete_expired(db, NOW + 10) == 1
    assert await db.fetch("SELECT hash FROM sessions") == []


async def test_a_session_is_seen_later_never_earlier(db: Database) -> None:
    await users.add(db, rows.user())
    await sessions.add(db, one := rows.session())
    await sessions.touch(db, one.hash, NOW + 5)
    await sessions.touch(db, one.hash, NOW + 3)
    assert await sessions.all_live(db, NOW) == [replace(one, seen_at=NOW + 5)]


async def test_a_session_of_nobody_or_of_the_wrong_shape_is_refused(db: Database) -> None:
    with pytest.raises(Conflict):
        await sessions.add(db, rows.session())
    await users.add(db, rows.user())
    with pytest.raises(Conflict):
        await sessions.add(db, rows.session(runtime_id="r-u-ada"))
    with pytest.raises(Conflict):
        await sessions.add(db, rows.session(hash=b"short"))


async def test_an_invitation_is_claimed_once_under_20_concurrent_claims(db: Database) -> None:
    await invitations.add(db, one := rows.invitation())
    outcomes = await asyncio.gather(
        *(invitations.claim(db, one.id, NOW + n) for n in range(20)), return_exceptions=True
    )
    won = [each for each in outcomes if isinstance(each, Invitation)]
    assert len(won) == 1
    assert sum(isinstance(each, Gone) for each in outcomes) == 19
    assert await invitations.by_token(db, one.token_hash) == won[0]


async def test_an_expired_or_unknown_invitation_is_gone(db: Database) -> None:
    await invitations.add(db, one := rows.invitation())
    with pytest.raises(Gone, match="ask an administrator"):
        await invitations.claim(db, one.id, one.expires_at)
    with pytest.raises(Gone):
        await invitations.claim(db, "i-none", NOW)
    assert (await invitations.claim(db, one.id, one.expires_at - 1)).used_at == one.expires_at - 1


async def test_invitations_are_listed_newest_first_and_remember_who_came(db: Database) -> None:
    await users.add(db, rows.user(role=Role.OWNER))
    setup = rows.invitation(role=Role.OWNER, created_at=NOW - 3)
    of_a_shell = rows.invitation(created_at=NOW - 2)
    used_setup = rows.invitation(role=Role.OWNER, created_at=NOW - 1, used_at=NOW)
    member = rows.invitation(invited_by="u-ada")
    for each in (setup, of_a_shell, used_setup, member):
        await invitations.add(db, each)
    assert await invitations.all(db) == [member, used_setup, of_a_shell, setup]
    await invitations.set_used_by(db, used_setup.id, "u-ada")
    await invitations.delete_unused_setup(db)
    assert await invitations.all(db) == [member, replace(used_setup, used_by="u-ada"), of_a_shell]
    await invitations.delete(db, member.id)
    assert await invitations.by_token(db, member.token_hash) is None


async def test_a_runtime_comes_back_as_it_went_in(db: Database) -> None:
    await users.add(db, rows.user())
    one = rows.runtime(token_hash=b"\x00" * 32)
    await runtimes.add(db, one)
    assert await runtimes.get(db, one.id) == one
    assert await runtimes.by_owner(db, "u-ada") == one
    assert await runtimes.by_slug(db, one.slug) == one
    assert await runtimes.all(db) == [one]
    assert await runtimes.subnets(db) == {"10.0.0.0/29"}
    assert await runtimes.get(db, "r-none") is None


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"slug": "other"}, r"runtimes\.subnet"),
        ({"subnet": "10.0.0.8/29"}, r"runtimes\.slug"),
        ({"owner": "u-ada", "slug": "other", "subnet": "10.0.0.8/29"}, r"runtimes\.owner"),
        ({"owner": "u-nobody", "slug": "other", "subnet": "10.0.0.8/29"}, "clashes"),
    ],
)
async def test_owner_slug_and_subnet_are_taken_once(db: Database, changes: dict[str, str], column: str) -> None:
    for login in ("ada", "bob"):
        await users.add(db, rows.user(login))
    await runtimes.add(db, rows.runtime("u-ada"))
    second = replace(rows.runtime("u-bob", slug="slug-u-ada"), **changes)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match=column):
        await runtimes.add(db, second)


async def test_one_subnet_goes_to_one_of_many_who_want_it_at_once(db: Database) -> None:
    for n in range(8):
        await users.add(db, rows.user(f"m{n}"))
    tries = (runtimes.add(db, rows.runtime(f"u-m{n}")) for n in range(8))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(each is None for each in outcomes) == 1
    assert sum(isinstance(each, Conflict) for each in outcomes) == 7


async def test_a_wish_made_on_an_old_version_conflicts(db: Database) -> None:
    await users.add(db, rows.user())
    await runtimes.add(db, seen := rows.runtime())
    wanted = await runtimes.set_want(db, seen, Want.RUNNING)
    assert wanted == replace(seen, want=Want.RUNNING, version=2)
    with pytest.raises(Conflict, match="reload"):
        await runtimes.set_want(db, seen, Want.GONE)
    assert await runtimes.get(db, seen.id) == wanted


async def test_concurrent_wishes_on_one_version_let_one_through(db: Database) -> None:
    await users.add(db, rows.user())
    await runtimes.add(db, seen := rows.runtime())
    outcomes = await asyncio.gather(
        *(runtimes.set_want(db, seen, Want.RUNNING) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(each, Conflict) for each in outcomes) == 9


async def test_a_new_generation_replaces_the_token_and_every_change_raises_the_version(db: Database) -> None:
    await users.add(db, rows.user())
    await runtimes.add(db, one := rows.runtime())
    second = await runtimes.new_generation(db, one.id, b"\x01" * 32)
    assert second == replace(one, generation=1, token_hash=b"\x01" * 32, version=2)
    failed = await runtimes.set_failure(db, one.id, 3, "the image is missing", NOW + 9)
    assert failed == replace(second, failures=3, failure="the image is missing", retry_at=NOW + 9, version=3)
    assert await runtimes.set_failure(db, one.id, 0, "", 0) == replace(second, version=4)
    for refused in (runtimes.new_generation(db, "r-none", b"\x02" * 32), runtimes.set_failure(db, "r-none", 0, "", 0)):
        with pytest.raises(NotFound):
            await refused


async def test_a_user_with_a_runtime_cannot_be_deleted_so_no_slug_is_reused(db: Database) -> None:
    await users.add(db, rows.user())
    await runtimes.add(db, rows.runtime())
    with pytest.raises(Conflict):
        await db.execute("DELETE FROM users WHERE id = $1", "u-ada")


async def test_calls_settled_twice_count_once_with_the_offset_beside_them(db: Database) -> None:
    today = day_of(NOW)
    failed = rows.call(user_id="u-bob", status=502, model="deaf")
    calls = [rows.call(first_ms=None), rows.call(at=NOW + DAY_MS), failed]
    assert await usage.offset(db, "calls.log") == 0
    await usage.settle(db, calls[:2], log="calls.log", offset=200)
    await usage.settle(db, calls, log="calls.log", offset=300)
    assert await usage.offset(db, "calls.log") == 300
    assert await usage.offset(db, "other.log") == 0
    one = Total(1, 100, 20, 10, 5)
    assert await usage_days.total(db, range(today, today + 2), "u-ada") == Total(2, 200, 40, 20, 10)
    assert await usage_days.total(db, range(today, today + 1), "u-ada") == one
    assert await usage_days.total(db, range(today, today + 2), None) == Total(3, 300, 60, 30, 15, failed=1)
    assert await usage_days.total(db, range(today, today + 2), "u-nobody") == Total()
    assert await usage_days.answered(db) == {"small"}
    by_day, parts = await usage_days.added_up(db, range(today, today + 9), "u-ada")
    assert by_day == {today: one, today + 1: one} and Total.of(each.total for each in parts) == Total.of([one, one])
    assert await usage_days.added_up(db, range(today, today + 9), "u-nobody") == ({}, [])
    words = {eighths_of(90): 1}
    assert await usage_days.first_words(db, Month.around(NOW)) == {"small": words, "deaf": words}


async def test_sums_over_the_box_and_over_months_are_those_of_the_days(db: Database) -> None:
    """Over the turn of a month and of a year, with calls that came late; then as an upgrade makes them."""
    new_year = int(datetime(2028, 1, 1, tzinfo=UTC).timestamp() * 1000)
    for at in (new_year, new_year - 1, new_year - 1, new_year + 58 * DAY_MS, new_year + 59 * DAY_MS, new_year - DAY_MS):
        calls = [rows.call(at=at, user_id=who, cost=cost) for who in ("u-ada", "u-bob") for cost in (0, 5)]
        await usage.settle(db, calls, log="calls.log", offset=1)
    everything = range(2**30)

    async def sums() -> tuple[dict[int, Total], list[Part], list[dict[str, Total]]]:
        by_day, parts = await usage_days.added_up(db, everything, None)
        return (
            by_day,
            sorted(parts, key=lambda each: each.is_free),
            [await usage_days.by_user(db, month) for month in months],
        )

    months = [Month(2027, 12), Month(2028, 1), Month(2028, 2), Month(2028, 3)]
    by_day, parts, by_month = await sums()
    days, models = await usage_days.added_up(db, everything, "u-ada")
    bobs_days, bobs_models = await usage_days.added_up(db, everything, "u-bob")
    assert by_day == {day: Total.of([total, bobs_days[day]]) for day, total in days.items()}
    assert [each.is_free for each in parts] == [False, True]
    assert Total.of(each.total for each in parts) == Total.of(each.total for each in models + bobs_models)
    assert [found["u-ada"].calls for found in by_month if found] == [6, 2, 4]
    assert by_month[0]["u-bob"] == await usage_days.total(db, months[0].days, "u-bob")
    upgrade = next(each for each in shipped() if "usage_sums" in each.name)
    for statement in upgrade.statements(db.dialect):
        if "CREATE TABLE" in statement:
            await db.execute(f"DELETE FROM {statement.split()[2]}")
        else:
            await db.execute(statement)
    assert await sums() == (by_day, parts, by_month)


async def test_the_pace_of_a_backend_is_that_of_its_answers(db: Database) -> None:
    calls = [
        rows.call(first_ms=400, total_ms=2400),  # 20 tokens in 2 s
        rows.call(first_ms=200, total_ms=1200, tokens=Tokens(output=40)),
        rows.call(first_ms=600, total_ms=610, tokens=Tokens(output=500)),  # came whole
        rows.call(first_ms=None, total_ms=9000, status=502),
        rows.call(first_ms=10, total_ms=9000, status=499),
        rows.call(at=NOW - 1),
        rows.call(backend_id="b-other", first_ms=7, total_ms=9),
    ]
    await usage.settle(db, calls, log="calls.log", offset=1)
    found = await usage.paces(db, NOW)
    assert found == {"b-local": Pace(3, 400, 60, 3000), "b-other": Pace(1, 7, 0, 0)}
    assert [each.tokens_per_s for each in found.values()] == [20.0, None]


async def test_a_settlement_that_fails_half_way_moves_neither_rows_nor_offset(db: Database) -> None:
    await usage.settle(db, [rows.call()], log="calls.log", offset=100)
    broken = rows.call(user_id=None)
    with pytest.raises(ClawLoopsError):
        await usage.settle(db, [rows.call() for _ in range(100)] + [broken], log="calls.log", offset=200)
    assert await usage.offset(db, "calls.log") == 100
    assert (await usage_days.total(db, range(2**30), None)).calls == 1


async def test_a_large_settlement_is_whole_and_sums_pass_32_bits(db: Database) -> None:
    many = [rows.call(tokens=Tokens(input=2**31)) for _ in range(200)]
    await usage.settle(db, many, log="calls.log", offset=1)
    assert await usage_days.total(db, range(2**30), "u-ada") == Total(200, 200 * 2**31)
    await usage.settle(db, [], log="calls.log", offset=2**40)
    assert await usage.offset(db, "calls.log") == 2**40


async def test_audit_entries_come_newest_first_even_within_one_millisecond(db: Database) -> None:
    for n in range(5):
        await audit.add(db, b"key", NOW, None if n == 4 else "u-ada", "session.refused", "r-ada", f"try {n}")
    latest = await audit.latest(db, 3)
    assert [each.detail for each in latest] == ["try 4", "try 3", "try 2"]
    made = AuditEntry(latest[0].seq, NOW, None, "session.refused", "r-ada", "try 4", latest[1].hash, latest[0].hash)
    assert latest[0] == made


async def test_a_meta_value_is_set_and_replaced(db: Database) -> None:
    assert await meta.get(db, "colour") is None
    await meta.put(db, "colour", "red")
    await meta.put(db, "colour", "blue")
    assert await meta.get(db, "colour") == "blue"


async def test_of_two_who_set_a_meta_value_first_one_is_told_that_it_was(db: Database) -> None:
    assert await meta.which(db, ["colour", "size"]) == frozenset()
    assert [await meta.put_first(db, "colour", each) for each in ("red", "blue")] == [True, False]
    assert await meta.get(db, "colour") == "red"
    assert await meta.which(db, ["colour", "size"]) == {"colour"}
