"""Coming back with an identity provider after something has changed, here or there: groups, roles, who is let in."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from clawloops.control.audit import REFUSALS
from clawloops.errors import BadInput, Conflict, NotSignedIn
from clawloops.model.account import Role, User
from clawloops.model.issuer import FirstLogin, Identity, Newcomer, Rule
from clawloops.store import identities
from clawloops.web import cookies
from tests.oidc.crooked import CLIENT, SECRET, Crooked
from tests.web.box import Box
from tests.web.sign_on import SETTINGS, come_back, crooked, is_out, leave, olga, sign_in
from tests.web.test_account import joined
from tests.web.test_second_step import Browser

__all__ = ["crooked", "olga"]


async def _trust(box: Box, crooked: Crooked, by: User, *rules: Rule, first: FirstLogin = FirstLogin.MEMBERS) -> None:
    wanted = replace(SETTINGS, url=crooked.issuer, client_id=CLIENT, first_login=first, rules=rules)
    await box.issuers.set(wanted, secret=SECRET, by=by)


async def _fails(box: Box, table: str, when: str = "1") -> None:
    """From now on nothing is added to it."""
    await box.db.execute(f"CREATE TRIGGER no BEFORE INSERT ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, 'no'); END")


def _someone(crooked: Crooked, *groups: str) -> Newcomer:
    return Newcomer(
        issuer=crooked.issuer, subject="s-1", name="Ada", login="ada", email="", groups=frozenset(groups),
        authenticated_at=None,
    )  # fmt: skip


async def _linked(box: Box, crooked: Crooked, login: str) -> User:
    """A member with a password whom the provider knows as the one that it sends."""
    user = await joined(box, login)
    await identities.add(box.db, Identity(crooked.issuer, "s-1", user.id, "ada", 1, 1))
    return user


async def test_a_group_that_was_removed_keeps_nobody_out(box: Box, olga: User, crooked: Crooked) -> None:
    team, other = [await box.groups.make(name, [], by=olga) for name in ("Team", "Other")]
    await _trust(box, crooked, olga, Rule("agents", Role.MEMBER, team.id), Rule("x", Role.MEMBER, other.id))
    await box.groups.remove(team.id, by=olga)
    await box.groups.remove(other.id, by=olga)
    for _ in range(2):
        assert (await sign_in(box, crooked))[1][:2] == (303, "/")
    assert len(box.accounts.members()) == 2


async def test_a_newcomer_who_cannot_be_put_into_their_group_has_no_account(
    box: Box, olga: User, crooked: Crooked
) -> None:
    team = await box.groups.make("Team", [], by=olga)
    await _trust(box, crooked, olga, Rule("agents", Role.MEMBER, team.id))
    await _fails(box, "group_members")
    browser, (status, _, _) = await sign_in(box, crooked)
    assert status == 401 and is_out(browser)
    await box.accounts.load()
    assert box.accounts.members() == [olga]
    await box.db.execute("DROP TRIGGER no")
    assert (await sign_in(box, crooked))[1][:2] == (303, "/")
    (group,) = await box.groups.all()
    assert len(group.members) == 1


async def test_an_address_is_of_its_own_domain_however_long_it_is(box: Box, olga: User, crooked: Crooked) -> None:
    wanted = replace(SETTINGS, url=crooked.issuer, client_id=CLIENT, first_login=FirstLogin.MEMBERS)
    await box.issuers.set(replace(wanted, domains=("example.org",)), secret=SECRET, by=olga)
    crooked.claims["email"] = "a" * 188 + "@example.org.evil.net"
    status, _, text = (await sign_in(box, crooked))[1]
    assert status == 401 and "no group or domain" in text
    crooked.claims["email"] = "a" * 188 + "@example.org"
    assert (await sign_in(box, crooked))[1][:2] == (303, "/")


async def test_a_role_that_the_provider_changes_ends_every_session_from_before(
    box: Box, olga: User, crooked: Crooked
) -> None:
    await _trust(box, crooked, olga, Rule("agents", Role.MEMBER), Rule("lords", Role.ADMIN))
    before, _ = await sign_in(box, crooked)
    crooked.claims["groups"] = ["lords"]
    after, page = await sign_in(box, crooked)
    assert page[:2] == (303, "/") and box.accounts.user_of(before.kept[cookies.SESSION]) is None
    found = box.accounts.user_of(after.kept[cookies.SESSION])
    assert found is not None and found[0].role is Role.ADMIN
    (entry,) = [each for each in await box.audit.latest() if each.action == "role changed"]
    assert entry.detail == "from member to admin, by Castle"
    again, _ = await sign_in(box, crooked)
    assert box.accounts.user_of(after.kept[cookies.SESSION]) is not None and not is_out(again), "nothing changed"


async def test_a_role_is_changed_with_its_entry_or_not_at_all_and_of_the_member_of_now(
    box: Box, olga: User, crooked: Crooked
) -> None:
    mia = await joined(box, "mia")
    await box.accounts.set_role(mia.id, Role.VIEWER, by=olga)
    assert (await box.accounts.map_role(mia, Role.ADMIN, why="")).role is Role.VIEWER, "an admin was faster"
    ken = await joined(box, "ken")
    await _fails(box, "audit", "NEW.action = 'role changed'")
    with pytest.raises(Conflict):
        await box.accounts.map_role(ken, Role.ADMIN, why="")
    await box.accounts.load()
    assert [box.accounts.get(each.id).role for each in (mia, ken)] == [Role.VIEWER, Role.MEMBER]


async def test_somebody_disabled_does_not_come_back_by_unlinking_first(box: Box, olga: User, crooked: Crooked) -> None:
    ada = await _linked(box, crooked, "ada")
    await box.arrivals.unlink(by=ada)
    assert await box.arrivals.of(ada) is None
    _, session = await box.signed_in(ada)
    with pytest.raises(BadInput, match="somebody else"):
        await box.arrivals.prove(session, _someone(crooked, "agents"), by=ada, address="a")
    await box.accounts.disable(ada.id, by=olga)
    status, _, text = (await sign_in(box, crooked))[1]
    assert status == 401 and "is disabled" in text and len(box.accounts.members()) == 2


async def test_what_was_unlinked_is_a_stranger_here_and_can_be_linked_again(
    box: Box, olga: User, crooked: Crooked
) -> None:
    ada, someone = await _linked(box, crooked, "ada"), _someone(crooked, "agents")
    await box.arrivals.unlink(by=ada)
    browser, _ = await sign_in(box, crooked)
    found = box.accounts.user_of(browser.kept[cookies.SESSION])
    assert found is not None and found[0].login == "ada2"
    with pytest.raises(BadInput, match="once an admin has disabled that one"):
        await box.arrivals.link(someone, by=ada, address="a")
    await box.accounts.disable(found[0].id, by=olga)
    await box.arrivals.link(someone, by=ada, address="a")
    assert (await box.arrivals.admit(someone, "a")).id == ada.id


async def test_the_form_that_disables_says_that_strangers_are_let_in(box: Box, olga: User, crooked: Crooked) -> None:
    mia = await joined(box, "mia")
    token, _ = await box.signed_in(olga)
    said = "Shut Mia out at Castle, too"
    assert said in await (await box.page(f"/members/{mia.id}", token)).text()
    await _trust(box, crooked, olga, Rule("agents", Role.MEMBER), first=FirstLogin.INVITED)
    assert said not in await (await box.page(f"/members/{mia.id}", token)).text()


async def test_no_flood_of_refusals_fills_the_audit(box: Box, olga: User, crooked: Crooked) -> None:
    for _ in range(REFUSALS + 5):
        with pytest.raises(NotSignedIn):
            await box.arrivals.admit(_someone(crooked), "a")
    found = [each.action for each in await box.audit.latest(2 * REFUSALS)]
    assert found.count("sign-in refused") == REFUSALS


async def test_after_a_join_that_failed_the_next_try_is_with_the_same_link(
    box: Box, olga: User, crooked: Crooked
) -> None:
    link = (await box.invitations.invite(role=Role.MEMBER, note="", by=olga)).removeprefix(box.site.origin)
    crooked.claims["groups"] = []
    browser = Browser(box)
    status, _, text = await come_back(browser, await leave(browser, crooked, f"{link}/with"))
    assert status == 401 and f'href="{link}">Try again' in text
    status, _, text = await come_back(browser, await leave(browser, crooked))
    assert status == 401 and 'href="/sign-in/with">Try again' in text
    assert "Nothing was changed" not in text, "whoever is let in no more was signed out everywhere"


async def test_nothing_is_linked_when_the_session_ends_while_the_provider_answers(
    box: Box, olga: User, crooked: Crooked
) -> None:
    browser = Browser(box)
    browser.kept[cookies.SESSION], session = await box.signed_in(olga)
    text = (await browser.post("/account/identity"))[2]
    query = parse_qs(urlsplit(text.split('href="http://127', 1)[1].split('"', 1)[0].replace("&amp;", "&")).query)
    crooked.nonce, crooked.claims["auth_time"] = query["nonce"][0], int(time.time())
    crooked.asked, crooked.delay_s = [], {"/token": 0.5}
    coming = asyncio.create_task(come_back(browser, query["state"][0]))
    async with asyncio.timeout(5):
        while "/token" not in crooked.asked:
            await asyncio.sleep(0.01)
    await box.sessions.revoke(session)
    status, _, text = await coming
    assert status == 400 and "signed out meanwhile" in text and await box.arrivals.all() == {}
