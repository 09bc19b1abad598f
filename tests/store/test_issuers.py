"""Rows of the identity provider and of who people are to it, on both databases."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from clawloops.clock import now_ms
from clawloops.control.issuer import place_of
from clawloops.errors import Conflict
from clawloops.model.account import Group, Role
from clawloops.model.issuer import FirstLogin, Identity, Issuer, Rule
from clawloops.store import groups, identities, issuers, users
from clawloops.store.db import Database
from clawloops.store.issuers import Kept
from clawloops.store.seal import Sealer
from tests.store import rows

ISSUER = Issuer(
    url="https://auth.example", client_id="c", label="Castle", scopes="openid", ca="", first_login=FirstLogin.MEMBERS,
    groups_claim="groups", domains=("a.example", "b.example"), is_only=True,
    rules=(Rule("b", Role.ADMIN, "g1"), Rule("a", Role.MEMBER)),
)  # fmt: skip


async def test_it_is_kept_whole_and_replaced_whole(db: Database) -> None:
    await users.add(db, rows.user())
    await groups.add(db, Group("g1", "Team", frozenset({"u-ada"}), 1))
    sealer = Sealer(secrets.token_bytes(32), install_id="0a1b2c3d")
    sealed = sealer.seal("s", credential_id=issuers.ID, version=1, **place_of(ISSUER))
    await issuers.put(db, ISSUER, sealed, now_ms())
    assert await issuers.get(db) == Kept(ISSUER, sealed)
    await groups.delete(db, "g1")
    kept = await issuers.get(db)
    assert kept is not None and kept.issuer.rules == (Rule("b", Role.ADMIN), Rule("a", Role.MEMBER)), "still admitted"
    changed = replace(ISSUER, rules=(), is_only=False)
    await issuers.put(db, changed, sealed, now_ms())
    assert await issuers.get(db) == Kept(changed, sealed)
    with pytest.raises(Conflict):
        await issuers.put(db, ISSUER, sealed, now_ms())  # of a group that is no more
    assert await issuers.get(db) == Kept(changed, sealed)
    await issuers.delete(db)
    assert await issuers.get(db) is None


async def test_an_identity_has_one_account_and_an_account_one_of_each_issuer(db: Database) -> None:
    await users.add(db, rows.user())
    await users.add(db, replace(rows.user(), id="u-ben", login="ben"))
    ada = Identity("https://a", "s", "u-ada", "ada@x", 1, 1)
    await identities.add(db, ada)
    for twice in (replace(ada, user_id="u-ben"), replace(ada, subject="t")):
        with pytest.raises(Conflict):
            await identities.add(db, twice)
    await identities.add(db, replace(ada, issuer="https://b"))
    await identities.use(db, ada, "ada@y", 7)
    used = replace(ada, said="ada@y", used_at=7)
    assert await identities.find(db, "https://a", "s") == used == await identities.of(db, "https://a", "u-ada")
    assert await identities.find(db, "https://a", "S") is None, "in the case of its letters"
    assert await identities.unlink(db, "https://a", "u-ada", 8) and not await identities.unlink(
        db, "https://a", "u-ada", 9
    )
    assert await identities.of(db, "https://a", "u-ada") is None and await identities.all_of(db, "https://a") == []
    assert await identities.find(db, "https://a", "s") == replace(used, unlinked_at=8), "it is still known whose it was"
    await identities.add(db, replace(ada, subject="t"))
    await identities.add(db, replace(ada, user_id="u-ben"))
    assert (await identities.of(db, "https://a", "u-ben")) == replace(ada, user_id="u-ben")
    with pytest.raises(Conflict):
        await identities.add(db, ada)
    await users.set_disabled(db, "u-ben", 9)
    await identities.unlink(db, "https://a", "u-ada", 9)
    await identities.add(db, ada)
    assert await identities.of(db, "https://a", "u-ben") is None, "of somebody disabled it can be taken over"
    assert [each.issuer for each in await identities.all_of(db, "https://b")] == ["https://b"]


async def test_groups_are_gained_and_lost_once(db: Database) -> None:
    await users.add(db, rows.user())
    for each in ("g1", "g2"):
        await groups.add(db, Group(each, each, frozenset(), 1))
    assert await groups.place(db, "u-ada", gained={"g1"}, lost={"g2"})
    assert not await groups.place(db, "u-ada", gained={"g1"}, lost={"g2"})
    assert await groups.place(db, "u-ada", gained={"g2"}, lost={"g1"})
    assert {each.id: set(each.members) for each in await groups.all(db)} == {"g1": set(), "g2": {"u-ada"}}
    assert not await groups.place(db, "u-ada", gained={"gone"}, lost={"gone too"}), "a group that is no more"
    with pytest.raises(Conflict):
        await groups.place(db, "u-nobody", gained={"g1"}, lost=())
