"""Rows of second factors: what may happen once happens once, whichever database is behind and however many ask."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest

from clawloops.errors import Conflict
from clawloops.model.factor import Passkey
from clawloops.store import authenticators, passkeys, recovery, sessions, users
from clawloops.store.authenticators import Authenticator
from clawloops.store.db import Database
from clawloops.store.seal import Sealed
from tests.store import rows
from tests.store.rows import NOW


def _app(user_id: str = "u-ada", version: int = 1) -> Authenticator:
    return Authenticator(Sealed(user_id, version, "k" * 16, b"wrapped", b"nonce", secrets.token_bytes(8)), NOW)


def _passkey(number: int = 1, user_id: str = "u-ada", **changes: object) -> Passkey:
    made = Passkey(f"p{number}", user_id, b"credential %d" % number, b"key", b"handle", 0, "Phone", NOW + number, 0)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def people(db: Database) -> Database:
    await users.add(db, rows.user())
    await users.add(db, rows.user("ben"))
    return db


async def test_a_step_is_used_once_by_many_at_once_and_none_before_it(people: Database) -> None:
    await authenticators.put(people, _app(), used_step=10)
    came_of = await asyncio.gather(*(authenticators.use_step(people, "u-ada", 1, 12) for _ in range(8)))
    assert came_of.count(True) == 1
    for step, is_taken in ((10, False), (11, False), (12, False), (13, True)):
        assert await authenticators.use_step(people, "u-ada", 1, step) is is_taken
    assert not await authenticators.use_step(people, "u-ben", 1, 99)


async def test_a_new_secret_takes_the_place_of_the_old_one(people: Database) -> None:
    await authenticators.put(people, _app(), used_step=10)
    fresh = _app(version=2)
    await authenticators.put(people, fresh, used_step=3)
    assert await authenticators.get(people, "u-ada") == fresh and await authenticators.all(people) == [fresh]
    assert not await authenticators.use_step(people, "u-ada", 1, 12), "a code that was checked against the old one"
    assert await authenticators.use_step(people, "u-ada", 2, 4)
    assert await authenticators.delete(people, "u-ada") and not await authenticators.delete(people, "u-ada")


async def test_a_new_seal_leaves_what_was_used(people: Database) -> None:
    await authenticators.put(people, _app(), used_step=10)
    sealed = replace(_app().sealed, key_id="other", ciphertext=b"anew")
    await authenticators.reseal(people, sealed)
    kept = await authenticators.get(people, "u-ada")
    assert kept is not None and kept.sealed == sealed
    assert not await authenticators.use_step(people, "u-ada", 1, 10)


async def test_passkeys_are_found_by_credential_and_removed_by_their_owner(people: Database) -> None:
    first, second, bens = _passkey(1), _passkey(2), _passkey(3, "u-ben")
    for each in (second, first, bens):
        await passkeys.add(people, each)
    assert await passkeys.of(people, "u-ada") == [first, second]
    assert await passkeys.by_credential(people, bens.credential_id) == bens
    assert await passkeys.by_credential(people, b"unknown") is None
    with pytest.raises(Conflict):
        await passkeys.add(people, _passkey(4, "u-ben", credential_id=first.credential_id))
    assert await passkeys.delete(people, bens.id, "u-ada") is None
    assert await passkeys.delete(people, bens.id, "u-ben") == bens
    assert await passkeys.delete_user(people, "u-ada") == 2 and await passkeys.of(people, "u-ada") == []


@pytest.mark.parametrize(
    ("before", "told", "is_taken"),
    [(0, 0, True), (0, 1, True), (5, 6, True), (5, 5, False), (5, 4, False), (5, 0, False)],
)
async def test_a_counter_only_rises(people: Database, before: int, told: int, is_taken: bool) -> None:
    await passkeys.add(people, _passkey(sign_count=before))
    assert await passkeys.use(people, "p1", sign_count=told, at=NOW) is is_taken
    kept = (await passkeys.of(people, "u-ada"))[0]
    assert (kept.sign_count, kept.used_at) == ((told, NOW) if is_taken else (before, 0))


async def test_of_one_count_at_once_only_one_is_taken(people: Database) -> None:
    await passkeys.add(people, _passkey())
    came_of = await asyncio.gather(*(passkeys.use(people, "p1", sign_count=7, at=NOW) for _ in range(8)))
    assert came_of.count(True) == 1


async def test_a_recovery_code_is_used_once_by_many_at_once_and_by_its_owner_alone(people: Database) -> None:
    codes = [secrets.token_bytes(32) for _ in range(3)]
    await recovery.replace(people, "u-ada", codes)
    assert not await recovery.use(people, "u-ben", codes[0], at=NOW)
    came_of = await asyncio.gather(*(recovery.use(people, "u-ada", codes[0], at=NOW) for _ in range(8)))
    assert came_of.count(True) == 1
    assert await recovery.count(people, "u-ada") == (2, NOW) and await recovery.count(people, "u-ben") == (0, None)
    assert await recovery.exist(people, "u-ada") and not await recovery.exist(people, "u-ben")
    await recovery.replace(people, "u-ada", [secrets.token_bytes(32)])
    assert await recovery.count(people, "u-ada") == (1, None)
    assert not await recovery.use(people, "u-ada", codes[1], at=NOW)


async def test_whoever_has_an_app_or_a_passkey_has_a_factor(people: Database) -> None:
    await recovery.replace(people, "u-ada", [secrets.token_bytes(32)])
    assert await recovery.holders(people) == frozenset()
    await authenticators.put(people, _app(), used_step=0)
    await passkeys.add(people, _passkey())
    assert await recovery.holders(people) == {"u-ada"}
    await passkeys.add(people, _passkey(2, "u-ben"))
    assert await recovery.holders(people) == {"u-ada", "u-ben"}


async def test_factors_end_with_their_member(people: Database) -> None:
    await authenticators.put(people, _app(), used_step=0)
    await passkeys.add(people, _passkey())
    await recovery.replace(people, "u-ada", [secrets.token_bytes(32)])
    await people.execute("DELETE FROM users WHERE id = 'u-ada'")
    for table in ("authenticators", "passkeys", "recovery_codes"):
        assert await people.fetch(f"SELECT * FROM {table}") == []


async def test_a_session_keeps_when_it_was_proven(people: Database) -> None:
    session = rows.session(proved_at=NOW - 5)
    await sessions.add(people, session)
    assert await sessions.all_live(people, NOW) == [session]
    await sessions.set_proved(people, session.hash, NOW)
    assert (await sessions.all_live(people, NOW))[0].proved_at == NOW
