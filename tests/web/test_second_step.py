"""Signing in with a second factor, as a browser does it: what the half-session between the steps is good for."""

from __future__ import annotations

import re

import pytest

from clawloops.clock import now_ms
from clawloops.control import totp
from clawloops.model.account import Role, User
from clawloops.model.factor import Requirement
from clawloops.web import cookies
from clawloops.web.routes import DASHBOARD, For
from tests.web.box import NAVIGATE, Box, cookie_of
from tests.web.test_account import PASSWORD, joined


class Browser:
    """Keeps the cookies of one browser, and sends forms as our pages do."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.kept: dict[str, str] = {}

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, where it leads, and the text."""
        reply = await self.box.ask("GET", path, headers={**NAVIGATE, **self._cookies()})
        self._keep(reply.headers.getall("Set-Cookie", []))
        return reply.status, reply.headers.get("Location", ""), await reply.text()

    async def post(self, path: str, **fields: str) -> tuple[int, str, str]:
        tied_to = self.kept.get(cookies.SESSION) or self.kept.get(cookies.FORM, "")
        reply = await self.box.ask(
            "POST",
            path,
            headers={**NAVIGATE, "Origin": self.box.site.origin, "Sec-Fetch-Site": "same-origin", **self._cookies()},
            data={"csrf": cookies.csrf_of(tied_to), **fields},
        )
        self._keep(reply.headers.getall("Set-Cookie", []))
        return reply.status, reply.headers.get("Location", ""), await reply.text()

    async def halfway(self, login: str = "mia", **more: str) -> None:
        await self.get("/sign-in")
        came = await self.post("/sign-in", login=login, password=PASSWORD, **more)
        assert came[:2] == (303, "/sign-in/second")

    def _cookies(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.kept.items())} if self.kept else {}

    def _keep(self, given: list[str]) -> None:
        for name, value in re.findall(r"^([^=]+)=([^;]*)", "\n".join(given), re.MULTILINE):
            self.kept[name] = value
            if not value:
                del self.kept[name]


async def with_app(box: Box, user: User) -> tuple[str, list[str]]:
    """A secret whose code of this moment is not used up, and recovery codes."""
    _, session = await box.signed_in(user)
    secret = box.factors.begin_app(by=user, session=session).secret
    before = totp.code_of(secret, now_ms() // totp.STEP_MS - 1)
    codes = await box.factors.confirm_app(before, by=user, session=session)
    await box.sessions.revoke(session)
    return secret, codes


def code_of(secret: str) -> str:
    return totp.code_of(secret, now_ms() // totp.STEP_MS)


async def test_a_code_after_the_password_opens_the_page_that_was_asked_for(box: Box) -> None:
    mia = await joined(box, "mia")
    secret, codes = await with_app(box, mia)
    for code in (code_of(secret), codes[0]):
        browser = Browser(box)
        await browser.halfway(next="/keys")
        status, _, text = await browser.get("/sign-in/second")
        assert status == 200 and "One more step" in text and "Use a passkey" not in text
        assert (await browser.post("/sign-in/second", code=code))[:2] == (303, "/keys")
        assert (await browser.get("/keys"))[0] == 200


async def test_a_wrong_code_is_told_beside_the_field_and_not_written_back(box: Box) -> None:
    mia = await joined(box, "mia")
    await with_app(box, mia)
    browser = Browser(box)
    await browser.halfway()
    status, _, text = await browser.post("/sign-in/second", code="123456x")
    assert status == 400 and "That code is not right" in text and "123456x" not in text


@pytest.mark.attacks
async def test_a_half_session_opens_nothing_else(box: Box) -> None:
    mia = await joined(box, "mia")
    await with_app(box, mia)
    browser = Browser(box)
    await browser.halfway()
    half = browser.kept[cookies.FORM]
    for route in DASHBOARD:
        if route.access is For.ANYBODY:
            continue
        path = re.sub(r"{\w+}", "x1", route.path)
        status, location, _ = await (browser.get(path) if route.method == "GET" else browser.post(path))
        assert status == 401 or location.split("?")[0] == "/sign-in", path
        for name in (cookies.SESSION, cookies.WORKSPACE):  # nor in the place of another cookie
            reply = await box.ask("GET", path, headers={**NAVIGATE, "Cookie": f"{name}={half}"})
            assert reply.status in (303, 405), path
    assert box.sessions.of(mia.id) == []


@pytest.mark.attacks
async def test_a_cookie_from_before_the_password_is_not_the_half_session(box: Box) -> None:
    mia = await joined(box, "mia")
    secret, _ = await with_app(box, mia)
    victim, attacker = Browser(box), Browser(box)
    await attacker.get("/sign-in")
    victim.kept = dict(attacker.kept)  # planted
    assert (await victim.post("/sign-in", login="mia", password=PASSWORD))[0] == 303
    assert victim.kept != attacker.kept
    assert (await attacker.get("/sign-in/second"))[:2] == (303, "/sign-in")
    status, _, text = await attacker.post("/sign-in/second", code=code_of(secret))
    assert status == 401 and "That took too long" in text and cookies.SESSION not in attacker.kept


@pytest.mark.attacks
async def test_a_second_step_is_not_replayed(box: Box) -> None:
    mia = await joined(box, "mia")
    secret, codes = await with_app(box, mia)
    browser = Browser(box)
    await browser.halfway()
    replayed = dict(browser.kept)
    code = code_of(secret)
    assert (await browser.post("/sign-in/second", code=code))[0] == 303
    again = Browser(box)
    for each in (code, codes[0]):
        again.kept = dict(replayed)
        assert (await again.post("/sign-in/second", code=each))[0] == 401
    await again.halfway()
    assert (await again.post("/sign-in/second", code=code))[0] == 400, "the code is used up, too"


@pytest.mark.attacks
async def test_who_has_a_second_factor_is_told_to_nobody_without_the_password(box: Box) -> None:
    mia = await joined(box, "mia")
    await joined(box, "ben")
    await with_app(box, mia)
    seen = set()
    for login in ("mia", "ben", "nobody"):
        browser = Browser(box)
        await browser.get("/sign-in")
        status, location, text = await browser.post("/sign-in", login=login, password="not the password")
        seen.add((status, location, re.sub(r'nonce="[^"]*"|value="[^"]*"', "", text)))
        assert (await browser.get("/sign-in/second"))[:2] == (303, "/sign-in")
    assert len(seen) == 1 and "do not fit" in seen.pop()[2]
    stranger = Browser(box)
    await stranger.get("/sign-in")
    _, _, options = await stranger.get("/sign-in/passkey")
    assert '"allowCredentials": []' in options
    assert (await stranger.get("/sign-in/second/passkey"))[0] == 400


@pytest.mark.attacks(20)
async def test_guessing_the_code_is_slowed_down_and_the_password_does_not_help(box: Box) -> None:
    mia = await joined(box, "mia")
    await with_app(box, mia)
    seen = []
    for number in range(12):
        browser = Browser(box)
        await browser.halfway()
        seen.append((await browser.post("/sign-in/second", code=f"guess {number}"))[0])
    assert seen == [400] * 8 + [429] * 4


async def test_whoever_lacks_a_factor_that_is_demanded_is_led_to_set_it_up(box: Box) -> None:
    olga, mia = await box.member("olga", Role.OWNER), await joined(box, "mia")
    await box.workspace(mia)
    await box.factors.require(Requirement.EVERYBODY, by=olga)
    browser = Browser(box)
    await browser.get("/sign-in")
    assert (await browser.post("/sign-in", login="mia", password=PASSWORD))[:2] == (303, "/")
    for path in ("/", "/keys", "/workspace", "/handover?host=x"):
        assert (await browser.get(path))[:2] == (303, "/account"), path
    assert (await browser.post("/workspace/start"))[0] == 403
    status, _, text = await browser.get("/account")
    assert status == 200 and "This box asks you for a second factor" in text
    _, _, text = await browser.post("/account/app")
    found = re.search(r'id="secret" value="([A-Z2-7]{32})"', text)
    assert found and "<svg" in text and "otpauth://totp/ClawLoops:mia" in text
    status, _, text = await browser.post("/account/app/confirm", code="000000x")
    assert status == 400 and found[1] in text
    status, _, text = await browser.post("/account/app/confirm", code=code_of(found[1]))
    assert status == 200 and len(re.findall(r"<li><code>[-0-9a-z]{27}</code>", text)) == 10
    assert (await browser.get("/"))[0] == 200
    _, _, text = await browser.get("/account")
    assert "10 left" in text and found[1] not in text and "asks you" not in text


async def test_what_somebody_may_do_without_it_is_to_set_it_up_and_to_leave(box: Box) -> None:
    open_ = {route.path for route in DASHBOARD if route.setup}
    assert open_ == {
        "/sign-out", "/confirm/passkey", "/confirm/with", "/confirm/done", "/account", "/account/password",
            "/account/sessions/end",
        "/account/sessions/{id}/end", "/account/app", "/account/app/confirm", "/account/passkeys",
        "/account/passkeys/new", "/account/passkeys/options",
    }  # fmt: skip
    olga = await box.member("olga", Role.OWNER)
    token, _ = await box.signed_in(olga)
    await box.factors.require(Requirement.ADMINS, by=olga)
    for route in DASHBOARD:
        if route.access is For.ANYBODY or route.path in open_:
            continue
        path = re.sub(r"{\w+}", "x1", route.path)
        if route.method == "GET":
            assert (await box.page(path, token)).headers["Location"] == "/account", path
        else:
            assert (await box.send(path, token)).status == 403, path


async def test_an_admin_sees_who_has_one_and_removes_a_lost_one(box: Box) -> None:
    olga, mia = await box.member("olga", Role.OWNER), await joined(box, "mia")
    await with_app(box, mia)
    (token, _), (mias, _) = await box.signed_in(olga), await box.signed_in(mia)
    text = " ".join((await (await box.page("/members", token)).text()).split())
    assert text.count('<span class="badge">second factor</span>') == 1
    assert (await box.send(f"/members/{mia.id}/second-factor/remove", token)).status == 303
    assert box.accounts.user_of(mias) is None and not box.factors.is_held_by(mia.id)
    assert (await box.send("/members/second-factor", token, require="everyone")).status == 400
    assert (await box.send("/members/second-factor", token, require="admins")).status == 303
    assert (await box.page("/members", token)).headers["Location"] == "/account", "for the one who asks for it, too"


async def test_the_form_cookie_of_the_second_step_is_no_script_s_to_read(box: Box) -> None:
    mia = await joined(box, "mia")
    await with_app(box, mia)
    browser = Browser(box)
    await browser.get("/sign-in")
    reply = await box.ask(
        "POST",
        "/sign-in",
        headers={**NAVIGATE, "Origin": box.site.origin, "Cookie": f"{cookies.FORM}={browser.kept[cookies.FORM]}"},
        data={"csrf": cookies.csrf_of(browser.kept[cookies.FORM]), "login": "mia", "password": PASSWORD},
    )
    assert "HttpOnly" in reply.headers["Set-Cookie"] and cookie_of(reply, cookies.FORM)
