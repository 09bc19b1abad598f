"""Against a provider, or somebody between, who lies: what is believed of an answer, and in which browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from clawloops.clock import steady_ms
from clawloops.control import trips
from clawloops.model.account import User
from clawloops.oidc import keys
from clawloops.oidc.provider import challenge_of
from clawloops.web import cookies
from tests.oidc.crooked import CLIENT, Crooked, public, serving
from tests.oidc.server import new_key
from tests.web.box import Box
from tests.web.sign_on import come_back, crooked, is_out, leave, olga, sign_in, trust_crooked
from tests.web.test_account import joined
from tests.web.test_second_step import Browser

__all__ = ["crooked", "olga"]

pytestmark = pytest.mark.attacks(12)


async def test_an_honest_answer_signs_in_which_is_what_the_others_are_held_against(box: Box, crooked: Crooked) -> None:
    browser, page = await sign_in(box, crooked)
    assert page[:2] == (303, "/") and not is_out(browser)
    sent = crooked.forms[-1]
    assert len(sent["code_verifier"]) == 43 and sent["redirect_uri"] == box.site.origin + "/sign-in/return"
    _, away, _ = await browser.get("/sign-in/with")
    asked = parse_qs(urlsplit(away).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["response_type"] == ["code"]
    state = asked["state"][0]
    await come_back(browser, state)
    assert challenge_of(crooked.forms[-1]["code_verifier"]) == asked["code_challenge"][0]


NOW = int(time.time())

LIES: dict[str, tuple[Callable[[Crooked], object], str]] = {
    "no signature": (lambda it: setattr(it, "token", it.forged("none")), "proves nothing"),
    "the public key as a shared secret": (lambda it: setattr(it, "token", it.forged("HS256")), "proves nothing"),
    "a key that it does not publish": (lambda it: setattr(it, "keys", [public(new_key("RS256"))]), "does not name"),
    "another key of that name": (
        lambda it: setattr(it, "keys", [{**public(new_key("RS256")), "kid": it.key["kid"]}]), "does not hold"),
    "a key for encryption": (lambda it: setattr(it, "keys", [{**public(it.key), "use": "enc"}]), "does not name"),
    "a key for another algorithm": (lambda it: setattr(it, "keys", [{**public(it.key), "alg": "PS256"}]), "not name"),
    "no key named, of two": (
        lambda it: vars(it).update(header={"kid": "x"}, keys=[public(it.key)] * 2), "does not name"),
    "an extension that has to be understood": (lambda it: it.header.update(crit=["x"], x=1), "cannot be read"),
    "no token": (lambda it: setattr(it, "token", "x"), "cannot be read"),
    "another issuer": (lambda it: it.claims.update(iss="https://evil.example"), "does not hold"),
    "for another client": (lambda it: it.claims.update(aud="another"), "does not hold"),
    "for several, given to nobody": (lambda it: it.claims.update(aud=[CLIENT, "another"]), "given to another"),
    "given to another client": (lambda it: it.claims.update(azp="another"), "given to another"),
    "expired": (lambda it: it.claims.update(exp=NOW - 120), "does not hold"),
    "without an end": (lambda it: it.claims.update(exp=None), "does not hold"),
    "of tomorrow": (lambda it: it.claims.update(iat=NOW + 86400), "does not hold"),
    "not good yet": (lambda it: it.claims.update(nbf=NOW + 86400), "does not hold"),
    "of another sign-in": (lambda it: it.claims.update(nonce="another"), "another sign-in"),
    "of no sign-in": (lambda it: it.claims.update(nonce=None), "another sign-in"),
    "of nobody": (lambda it: it.claims.update(sub=None), "does not hold"),
    "of an empty name": (lambda it: it.claims.update(sub=""), "nothing usable"),
    "of a number": (lambda it: it.claims.update(sub=7), "does not hold"),
    "of a name without an end": (lambda it: it.claims.update(sub="s" * 256), "nothing usable"),
    "userinfo of somebody else": (
        lambda it: (it.claims.update(groups=None), it.userinfo.update(sub="s-2", groups=["agents"])), "somebody else"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_signs_nobody_in(box: Box, crooked: Crooked, lie: str) -> None:
    bend, told = LIES[lie]
    browser = Browser(box)
    state = await leave(browser, crooked)
    await box.issuers.load()  # what it knows of the provider is asked for anew
    bend(crooked)
    status, _, text = await come_back(browser, state)
    assert (status, is_out(browser)) == (401, True) and told in text, text
    assert len(box.accounts.members()) == 1


async def test_an_answer_is_good_once_and_in_the_browser_that_asked(box: Box, crooked: Crooked) -> None:
    victim, thief = Browser(box), Browser(box)
    state = await leave(victim, crooked)
    await leave(thief, crooked)  # with a cookie of its own
    for browser in (thief, Browser(box)):
        status, _, text = await come_back(browser, state)
        assert status == 400 and "another browser" in text and is_out(browser)
    state = await leave(victim, crooked)
    assert (await come_back(victim, state))[0] == 303
    assert (await come_back(victim, state))[0] == 400
    assert len(crooked.forms) == 2, "one to try the secret, one to sign in"


@pytest.mark.parametrize("state", ["", "x", "A" * 300, "é", "AAAA%00"])
async def test_a_forged_state_is_refused(box: Box, crooked: Crooked, state: str) -> None:
    browser = Browser(box)
    good = await leave(browser, crooked)
    assert (await come_back(browser, state))[0] == 400
    flipped = good[:40] + ("A" if good[40] != "A" else "B") + good[41:]
    assert (await come_back(browser, flipped))[0] == 400
    assert (await come_back(browser, good))[0] == 303


async def test_a_trip_ends_after_ten_minutes(box: Box, crooked: Crooked, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(box)
    state, begun = await leave(browser, crooked), steady_ms()
    monkeypatch.setattr(trips, "steady_ms", lambda: begun + trips.VALID_MS + 1)
    assert (await come_back(browser, state))[0] == 400


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        ("&error=access_denied", 401, "did not let you in"),
        ("&error=%3Cb%3Edown", 401, "&lt;b&gt;down"),
        ("", 401, "without a reason"),
        ("&code=good&code=good", 400, "says something twice"),
        ("&code=good&iss=https://evil.example", 401, "came from another provider"),
        ("&code=bad", 401, "invalid_grant"),
    ],
)
async def test_what_else_comes_back_signs_nobody_in(
    box: Box, crooked: Crooked, more: str, status: int, told: str
) -> None:
    browser = Browser(box)
    found = await come_back(browser, await leave(browser, crooked), more)
    assert (found[0], is_out(browser)) == (status, True) and told in found[2], found[2]


async def test_a_provider_that_promises_its_name_in_each_answer_is_held_to_it(box: Box, olga: User) -> None:
    async with serving(Crooked(says={"authorization_response_iss_parameter_supported": True})) as crooked:
        await trust_crooked(box, olga, crooked)
        browser = Browser(box)
        assert (await come_back(browser, await leave(browser, crooked)))[0] == 401
        more = f"&code=good&iss={quote(crooked.issuer)}"
        assert (await come_back(browser, await leave(browser, crooked), more))[0] == 303


@pytest.mark.parametrize("wish", ["//evil.example", "https://evil.example", "/\\evil.example", "/..//evil.example"])
async def test_nobody_is_led_on_to_another_site(box: Box, crooked: Crooked, wish: str) -> None:
    browser = Browser(box)
    state = await leave(browser, crooked, f"/sign-in/with?next={quote(wish)}")
    assert (await come_back(browser, state))[:2] == (303, "/")


async def test_a_session_from_before_ends_and_is_not_the_new_one(box: Box, olga: User, crooked: Crooked) -> None:
    browser = Browser(box)
    planted, _ = await box.signed_in(olga)
    browser.kept[cookies.SESSION] = planted
    assert (await come_back(browser, await leave(browser, crooked)))[0] == 303
    assert browser.kept[cookies.SESSION] != planted and box.accounts.user_of(planted) is None


async def test_an_identity_is_linked_in_the_session_that_asked_for_it_alone(
    box: Box, olga: User, crooked: Crooked
) -> None:
    browser = Browser(box)
    browser.kept[cookies.SESSION], session = await box.signed_in(olga)
    text = (await browser.post("/account/identity"))[2]
    query = parse_qs(urlsplit(text.split('href="http://127', 1)[1].split('"', 1)[0].replace("&amp;", "&")).query)
    crooked.nonce, crooked.claims["auth_time"] = query["nonce"][0], int(time.time())
    await box.sessions.revoke(session)
    browser.kept[cookies.SESSION], _ = await box.signed_in(await joined(box, "mia"))
    status, _, text = await come_back(browser, query["state"][0])
    assert status == 400 and "signed out meanwhile" in text
    assert await box.arrivals.all() == {}


@pytest.mark.parametrize("auth_time", [None, NOW - 3600, True, "now"])
async def test_a_proof_is_none_unless_the_provider_has_asked_just_now(
    box: Box, crooked: Crooked, auth_time: object
) -> None:
    browser, _ = await sign_in(box, crooked)
    state = await leave(browser, crooked, "/confirm/with")
    crooked.claims["auth_time"] = auth_time
    status, _, text = await come_back(browser, state)
    assert status == 401 and "did not ask who you are" in text
    state = await leave(browser, crooked, "/confirm/with")
    crooked.claims["auth_time"] = int(time.time())
    assert (await come_back(browser, state))[:2] == (303, "/confirm/done")


async def test_new_keys_are_read_when_they_are_used_and_no_flood_makes_us_ask_for_more(
    box: Box, crooked: Crooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await sign_in(box, crooked))[1][0] == 303
    crooked.key = new_key("RS256")
    assert (await sign_in(box, crooked))[1][0] == 401, "it was read a moment ago"
    began = steady_ms()
    monkeypatch.setattr(keys, "steady_ms", lambda: began + keys.ANEW_MS)
    assert (await sign_in(box, crooked))[1][0] == 303
    asked = crooked.asked.count("/jwks")
    for _ in range(5):
        crooked.key = new_key("RS256")
        assert (await sign_in(box, crooked))[1][0] == 401
    assert crooked.asked.count("/jwks") == asked


async def test_guessing_codes_is_slowed_down(box: Box, crooked: Crooked) -> None:
    browser = Browser(box)
    seen = [(await come_back(browser, await leave(browser, crooked), "&code=bad"))[0] for _ in range(10)]
    assert seen == [401] * 8 + [429] * 2
