"""Signing in with a real identity provider: who gets in, as whom, and as what; and its page for admins."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from clawloops.control.sessions import PROOF_MS
from clawloops.model.account import Guest, Role, User
from clawloops.model.factor import Requirement
from clawloops.model.issuer import FirstLogin, Identity, Rule
from clawloops.store import identities
from clawloops.web import cookies
from tests.oidc.server import Person, Setup, serving
from tests.web.box import Box
from tests.web.sign_on import SETTINGS, arrive, go, setup_for, trust
from tests.web.test_account import PASSWORD, joined
from tests.web.test_second_step import Browser, code_of, with_app

pytestmark = pytest.mark.oidc

AGENTS = (Rule("agents", Role.MEMBER),)


@pytest.fixture
async def olga(box: Box) -> User:
    return await joined(box, "olga", Role.OWNER)


@pytest.fixture
async def castle(box: Box) -> AsyncIterator[Setup]:
    async with serving(setup_for(box)) as setup:
        yield setup


def _user(box: Box, browser: Browser) -> User:
    found = box.accounts.user_of(browser.kept.get(cookies.SESSION, ""))
    assert found is not None
    return found[0]


async def _signed_in(box: Box, user: User) -> Browser:
    browser = Browser(box)
    browser.kept[cookies.SESSION], _ = await box.signed_in(user)
    return browser


async def _made_stale(box: Box, browser: Browser) -> None:
    await box.db.execute("UPDATE sessions SET proved_at = proved_at - $1", PROOF_MS)
    await box.sessions.load()


async def test_an_admin_sets_it_up_on_a_page_and_its_secret_is_sealed(box: Box, olga: User, castle: Setup) -> None:
    browser = await _signed_in(box, olga)
    assert "Set one up" in (await browser.get("/members"))[2]
    form = {
        "issuer": castle.issuer + "/", "client_id": castle.client_id, "client_secret": castle.secret, "label": "Castle",
        "scopes": "profile groups", "first_login": "members", "groups_claim": "groups", "claimed": "agents",
        "grants": "member", "group": "", "domains": "", "ca": "",
    }  # fmt: skip
    assert (await browser.post("/members/sign-in", **form))[:2] == (303, "/members/sign-in?saved")
    issuer = box.issuers.current
    assert issuer is not None and issuer.url == castle.issuer and issuer.scopes == "openid profile groups"
    text = (await browser.get("/members/sign-in"))[2]
    assert castle.secret not in text and 'value="agents"' in text and box.issuers.redirect in text
    rows = await box.db.fetch("SELECT * FROM issuers")
    assert castle.secret not in str(rows) and castle.secret.encode() not in rows[0]["ciphertext"]
    assert (await box.audit.latest())[0].action == "identity provider set"
    del form["client_secret"]
    assert (await browser.post("/members/sign-in", **form, is_only="1"))[0] == 303, "the secret is kept"
    assert (await go(Browser(box), Person("ada")))[:2] == (303, "/")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("issuer", "", "Enter the issuer"),
        ("issuer", "http://auth.example.org", "needs https://"),
        ("issuer", "http://127.0.0.1:1", "does not answer"),
        ("client_id", "another", "does not know this client id"),
        ("client_secret", "wrong", "does not know this client id"),
        ("client_secret", "", "Enter the client secret"),
        ("ca", "-----BEGIN RSA PRIVATE KEY-----", "private key"),
        ("ca", "no certificate", "That is no certificate"),
        ("label", "", "Give the button a name"),
        ("domains", "nodot", "Domains are like"),
        ("first_login", "members", "Name a group or a domain"),
        ("grants", "owner", "makes members or admins"),
    ],
)
async def test_what_does_not_fit_is_told_beside_its_field(
    box: Box, olga: User, castle: Setup, field: str, value: str, told: str
) -> None:
    browser = await _signed_in(box, olga)
    form = {
        "issuer": castle.issuer, "client_id": castle.client_id, "client_secret": castle.secret, "label": "Castle",
        "scopes": "openid", "first_login": "invited", "groups_claim": "groups", "domains": "", "ca": "",
    }  # fmt: skip
    rows = {"claimed": "agents", "group": "", "grants": value} if field == "grants" else {}
    status, _, text = await browser.post("/members/sign-in", **{**form, **rows, field: value})
    assert status == 400 and re.search(rf'note error"[^>]*>[^<]*{re.escape(told)}', text), text
    assert castle.secret not in text and (field == "label" or 'value="Castle"' in text)
    assert box.issuers.current is None


async def test_a_secret_is_entered_again_for_another_issuer(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga)
    browser = await _signed_in(box, olga)
    form = {"issuer": "https://evil.example", "client_id": castle.client_id, "label": "x", "first_login": "invited"}
    status, _, text = await browser.post("/members/sign-in", **form, groups_claim="groups")
    assert status == 400 and "Enter the client secret" in text


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_somebody_new_in_an_allowed_group_becomes_a_member(box: Box, olga: User, alg: str) -> None:
    async with serving(setup_for(box, alg=alg, auth="client_secret_post", conform=False)) as castle:
        await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=AGENTS)
        browser = Browser(box)
        assert "Sign in with Castle" in (await browser.get("/sign-in"))[2]
        assert (await go(browser, Person("ada"), "/sign-in/with?next=/keys"))[:2] == (303, "/keys")
        ada = _user(box, browser)
        assert (ada.login, ada.name, ada.role, ada.has_password) == ("ada", "Ada Lovelace", Role.MEMBER, False)
        again = Browser(box)
        assert (await go(again, Person("ada")))[0] == 303 and _user(box, again).id == ada.id
        assert len(box.accounts.members()) == 2


async def test_claims_that_only_userinfo_tells_are_read_there(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, domains=("example.org",))
    assert (await go(Browser(box), Person("ada")))[:2] == (303, "/")
    status, _, text = await go(Browser(box), Person("ben"))
    assert status == 401 and "no group or domain" in text, "that address is not verified"


@pytest.mark.attacks
async def test_a_name_and_an_address_that_fit_open_nobody_elses_account(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, domains=("example.org",))
    browser = Browser(box)
    assert (await go(browser, Person("eve")))[0] == 303
    assert (_user(box, browser).login, _user(box, browser).role) == ("olga2", Role.MEMBER)


@pytest.mark.parametrize("first", [FirstLogin.REFUSED, FirstLogin.INVITED])
async def test_somebody_unknown_is_refused_with_the_next_step(
    box: Box, olga: User, castle: Setup, first: FirstLogin
) -> None:
    await trust(box, castle, olga, first_login=first, rules=AGENTS)
    browser = Browser(box)
    status, _, text = await go(browser, Person("ada"))
    assert status == 401 and "this box does not" in text and cookies.SESSION not in browser.kept
    assert len(box.accounts.members()) == 1
    entry = (await box.audit.latest())[0]
    assert entry.action == "sign-in refused" and "ada@example.org: not known here" in entry.detail


async def test_an_invitation_is_joined_with_it_once(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga)
    link = (await box.invitations.invite(role=Role.ADMIN, note="", by=olga)).removeprefix(box.site.origin)
    browser = Browser(box)
    assert "Join with Castle" in (await browser.get(link))[2]
    assert (await go(browser, Person("ada"), f"{link}/with"))[:2] == (303, "/")
    assert _user(box, browser).role is Role.ADMIN
    assert (await browser.get(f"{link}/with"))[0] == 410
    another = (await box.invitations.invite(role=Role.MEMBER, note="", by=olga)).removeprefix(box.site.origin)
    status, _, text = await go(Browser(box), Person("ada"), f"{another}/with")
    assert status == 401 and "You have an account here already" in text and len(await box.invitations.open()) == 1


async def test_whoever_joins_with_it_is_in_the_group_and_stays_the_viewer_that_they_were_invited_as(
    box: Box, olga: User, castle: Setup
) -> None:
    team, told = await box.groups.make("Team", [], by=olga), list[str]()

    async def note() -> None:
        told.append("grouped")

    box.invitations.on_grouped = note
    await trust(box, castle, olga, rules=(*AGENTS, Rule("lords", Role.ADMIN)))
    (link,) = await box.invitations.invite_all([Guest("", Role.VIEWER, team.id)], by=olga)
    browser = Browser(box)
    assert (await go(browser, Person("ada"), f"{link.removeprefix(box.site.origin)}/with"))[0] == 303
    ada = _user(box, browser)
    assert ada.role is Role.VIEWER and (await box.groups.all())[0].members == {ada.id} and told == ["grouped"]
    again = Browser(box)
    assert (await go(again, Person("ada")))[0] == 303 and _user(box, again).role is Role.VIEWER
    for path, status in (("/", 303), ("/box", 200), ("/account", 200), ("/members/sign-in", 403), ("/keys", 403)):
        assert (await again.get(path))[0] == status, path


async def test_an_owner_links_their_account_and_a_second_one_cannot(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga, rules=AGENTS)
    browser, person = await _signed_in(box, olga), Person("ben")
    status, _, text = await browser.post("/account/identity")
    away = re.search(r'href="(http://127[^"]+)"', text)
    assert status == 200 and away is not None
    back = await person.visit(away[1].replace("&amp;", "&"))
    assert (await arrive(browser, back))[:2] == (303, "/account?linked")
    assert "ben" in (await browser.get("/account"))[2]
    fresh = Browser(box)
    assert (await go(fresh, Person("ben")))[:2] == (303, "/") and _user(box, fresh).role is Role.OWNER
    mia = await _signed_in(box, await joined(box, "mia"))
    text = (await mia.post("/account/identity"))[2]
    away = re.search(r'href="(http://127[^"]+)"', text)
    assert away is not None
    status, _, text = await arrive(mia, await Person("ben").visit(away[1].replace("&amp;", "&")))
    assert status == 400 and "no group or domain" in text
    assert (await browser.post("/account/identity/remove"))[0] == 303
    assert await box.arrivals.of(olga) is None


async def test_the_providers_groups_decide_roles_and_groups_at_each_sign_in(box: Box, olga: User) -> None:
    team = await box.groups.make("Team", [], by=olga)
    rules = (Rule("agents", Role.MEMBER, team.id), Rule("lords", Role.ADMIN))
    setup, person = setup_for(box), {"name": "Ada", "preferred_username": "ada"}
    is_agent, is_lord = (["agents"], Role.MEMBER, 1), (["lords"], Role.ADMIN, 0)
    for groups, role, members in (is_agent, is_lord, is_agent):
        async with serving(replace(setup, people={"ada": {**person, "groups": groups}})) as castle:
            await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=rules)
            browser = Browser(box)
            assert (await go(browser, Person("ada")))[0] == 303
            assert _user(box, browser).role is role
            assert len((await box.groups.all())[0].members) == members
    async with serving(replace(setup, people={"ada": {**person, "groups": []}})) as castle:
        await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=rules)
        assert (await browser.get("/"))[0] == 200
        status, _, text = await go(Browser(box), Person("ada"))
        assert status == 401 and "no group or domain" in text
        assert (await browser.get("/"))[0] == 303, "signed out everywhere"


async def test_the_owner_is_neither_demoted_nor_locked_out(box: Box, olga: User, castle: Setup) -> None:
    rules = (Rule("lords", Role.ADMIN),)
    await trust(box, castle, olga, rules=rules, is_only=True)
    await identities.add(box.db, Identity(castle.issuer, "ben", olga.id, "ben", 1, 1))
    browser = Browser(box)
    assert (await go(browser, Person("ben")))[0] == 303 and _user(box, browser).role is Role.OWNER
    other = Browser(box)
    await other.get("/sign-in")
    assert (await other.post("/sign-in", login="olga", password=PASSWORD))[0] == 303


async def test_where_only_the_provider_signs_in_passwords_do_not(box: Box, olga: User, castle: Setup) -> None:
    await joined(box, "mia")
    await trust(box, castle, olga, is_only=True)
    browser = Browser(box)
    await browser.get("/sign-in")
    status, _, text = await browser.post("/sign-in", login="mia", password=PASSWORD)
    assert status == 401 and "Here you sign in with Castle" in text and cookies.SESSION not in browser.kept
    link = (await box.invitations.invite(role=Role.MEMBER, note="", by=olga)).removeprefix(box.site.origin)
    assert 'name="password"' not in (await browser.get(link))[2]
    status, _, _ = await browser.post(link, name="Kim", login="kim", password=PASSWORD)
    assert status == 403 and len(box.accounts.members()) == 2


async def test_a_disabled_member_stays_out(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=AGENTS)
    browser = Browser(box)
    await go(browser, Person("ada"))
    await box.accounts.disable(_user(box, browser).id, by=olga)
    status, _, text = await go(Browser(box), Person("ada"))
    assert status == 401 and "is disabled" in text


async def test_a_second_factor_is_asked_for_where_this_box_demands_one(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=AGENTS)
    browser, person = Browser(box), Person("ada")
    await go(browser, person)
    secret, _ = await with_app(box, _user(box, browser))
    assert (await go(Browser(box), person))[:2] == (303, "/"), "it is the provider's business"
    await box.factors.require(Requirement.EVERYBODY, by=olga)
    late = Browser(box)
    assert (await go(late, person, "/sign-in/with?next=/keys"))[:2] == (303, "/sign-in/second")
    assert cookies.SESSION not in late.kept
    assert (await late.post("/sign-in/second", code=code_of(secret)))[:2] == (303, "/keys")
    assert "with Castle and a code" in [each.detail for each in await box.audit.latest()]


async def test_who_has_no_password_proves_themselves_at_the_provider_and_the_form_goes_on(
    box: Box, olga: User, castle: Setup
) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=AGENTS)
    browser, person = Browser(box), Person("ada")
    await go(browser, person)
    await _made_stale(box, browser)
    status, _, text = await browser.post("/keys", name="Laptop <1>", days="0")
    assert status == 403 and "Confirm with Castle" in text and "Your password" not in text
    assert person.asked == 1
    assert (await go(browser, person, "/confirm/with"))[:2] == (303, "/confirm/done")
    assert person.asked == 2, "asked again, although they were signed in there"
    status, _, text = await browser.get("/confirm/done")
    assert status == 200 and 'action="/keys"' in text and 'value="Laptop &lt;1&gt;"' in text
    assert (await browser.post("/keys", name="Laptop <1>", days="0"))[0] == 200
    assert (await browser.get("/confirm/done"))[:2] == (303, "/"), "it was held for once"


@pytest.mark.attacks
async def test_another_persons_proof_is_none_and_a_second_factor_is_not_gone_around(
    box: Box, olga: User, castle: Setup
) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=AGENTS)
    browser, person = Browser(box), Person("ada")
    await go(browser, person)
    await _made_stale(box, browser)
    status, _, text = await go(browser, Person("ben"), "/confirm/with")
    assert status == 400 and "somebody else" in text
    _, session = box.accounts.user_of(browser.kept[cookies.SESSION]) or (None, None)
    assert session is not None and not box.sessions.is_proved(session)
    await with_app(box, _user(box, browser))
    assert (await browser.get("/confirm/with"))[0] == 400
    assert "Confirm with Castle" not in (await browser.post("/account/app/remove"))[2]


async def test_being_signed_in_at_the_provider_is_no_fresh_proof_here(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=AGENTS)
    browser = Browser(box)
    await go(browser, Person("ada"))
    _, session = box.accounts.user_of(browser.kept[cookies.SESSION]) or (None, None)
    assert session is not None and not box.sessions.is_proved(session), "it did not say when they were asked"


async def test_the_last_way_in_is_not_taken_away(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=AGENTS)
    browser = Browser(box)
    await go(browser, Person("ada"))
    await box.sessions.prove(box.sessions.of(_user(box, browser).id)[0])
    status, _, text = await browser.post("/account/identity/remove")
    assert status == 400 and "locked out" in text
    assert "Unlink" not in (await browser.get("/account"))[2] and SETTINGS.label == "Castle"


async def test_a_provider_that_is_gone_is_told_with_the_next_step(box: Box, olga: User, castle: Setup) -> None:
    await trust(box, castle, olga)
    browser = await _signed_in(box, olga)
    assert (await browser.post("/members/sign-in/remove"))[0] == 303
    assert "Castle" not in (await Browser(box).get("/sign-in"))[2]
    assert (await Browser(box).get("/sign-in/with"))[0] == 404
