"""Passkeys in a real browser, with its own virtual authenticator: registered, used, and everything that is refused."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import CDPSession, Page, expect

from clawloops.model.account import User
from clawloops.web import cookies
from tests.web.box import Box
from tests.web.desk import Desk, browser, desk
from tests.web.test_account import PASSWORD, joined

__all__ = ["browser", "desk"]

pytestmark = pytest.mark.browser
WRONG: tuple[object, ...] = (None, 7, "", "%", [])


@dataclass
class Device:
    """A tab, and the authenticator of the machine that it is on."""

    page: Page
    devtools: CDPSession
    id: str

    async def counts(self, credential: dict[str, Any], sign_count: int) -> None:
        """Its counter from now on, as of a copy that was made earlier."""
        await self.devtools.send(
            "WebAuthn.removeCredential", {"authenticatorId": self.id, "credentialId": credential["credentialId"]}
        )
        changed = {**credential, "signCount": sign_count}
        await self.devtools.send("WebAuthn.addCredential", {"authenticatorId": self.id, "credential": changed})

    async def credentials(self) -> list[dict[str, Any]]:
        found: dict[str, Any] = await self.devtools.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        return list(found["credentials"])


@pytest.fixture
async def mia(box: Box) -> User:
    return await joined(box, "mia")


@pytest.fixture
async def device(box: Box, desk: Desk) -> Device:
    page = await desk.context.new_page()
    devtools = await desk.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    made = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    desk.expect_complaints("status of 40")
    return Device(page, devtools, made["authenticatorId"])


async def register(box: Box, desk: Desk, device: Device, user: User, name: str = "Laptop") -> list[str]:
    """By the pages, signed in; returns the recovery codes that are shown. Signed out at the end."""
    await desk.sign_in(user)
    page = device.page
    await page.goto(box.site.origin + "/account")
    await page.get_by_role("button", name="Add a passkey").click()
    await page.get_by_label("Its name").fill(name)
    await page.get_by_role("button", name="Make the passkey").click()
    heading = page.get_by_role("heading", name=re.compile("Your recovery codes|Your account"))
    await expect(heading).to_be_visible()
    codes = await page.locator("ol.codes code").all_inner_texts()
    await box.sessions.revoke_user(user.id)
    await desk.context.clear_cookies()
    return codes


async def answer_for(page: Page, options: str) -> str:
    """What this page's own script would send for these options."""
    answer: str = await page.evaluate("async (told) => answerTo(JSON.parse(told))", options)
    return answer


async def options_at(box: Box, path: str, form: str) -> str:
    reply = await box.ask("GET", path, headers={"Cookie": f"{cookies.FORM}={form}"})
    assert reply.status == 200
    return await reply.text()


async def form_cookie(desk: Desk) -> str:
    return next(str(each["value"]) for each in await desk.context.cookies() if each["name"] == cookies.FORM)


async def send(box: Box, path: str, form: str, **fields: str) -> int:
    address = f"2001:db8::{secrets.token_hex(2)}"  # there are more of them than one address may send
    headers = {"Cookie": f"{cookies.FORM}={form}", "Origin": box.site.origin, "X-Forwarded-For": address}
    reply = await box.ask("POST", path, headers=headers, data={"csrf": cookies.csrf_of(form), **fields})
    return reply.status


async def test_a_passkey_signs_in_alone(box: Box, desk: Desk, device: Device, mia: User) -> None:
    codes = await register(box, desk, device, mia)
    assert len(codes) == 10
    page = device.page
    await page.goto(box.site.origin + "/keys")
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("heading", name="Keys", exact=True)).to_be_visible()
    await page.goto(box.site.origin + "/account")
    await expect(page.locator("#factors")).to_contain_text("Laptop")
    await expect(page.locator("#factors")).to_contain_text("last used")
    told = [(each.action, each.detail) for each in await box.audit.latest()]
    assert ("signed in", "with a passkey") in told and ("passkey added", "Laptop") in told
    handles = {each["userHandle"] for each in await device.credentials()}
    assert len(handles) == 1 and mia.id not in str(handles), "workspaces know a member's id"


async def test_it_is_the_second_factor_after_a_password(box: Box, desk: Desk, device: Device, mia: User) -> None:
    codes = await register(box, desk, device, mia)
    page = device.page
    await page.goto(box.site.origin + "/sign-in")
    for way in ("passkey", "recovery code"):
        await page.get_by_label("Login").fill("mia")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("heading", name="One more step")).to_be_visible()
        if way == "passkey":
            await page.get_by_role("button", name="Use a passkey").click()
        else:
            await page.get_by_label("Recovery code").fill(codes[3])
            await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("heading", name="Hello, Mia")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()


async def test_it_proves_who_it_is_before_something_dangerous(box: Box, desk: Desk, device: Device, mia: User) -> None:
    await register(box, desk, device, mia)
    await desk.sign_in(mia)
    await box.db.execute("UPDATE sessions SET proved_at = 0")
    await box.sessions.load()
    page = device.page
    await page.goto(box.site.origin + "/keys")
    await page.get_by_label("What for").fill("laptop")
    await page.get_by_role("button", name="Make a key").click()
    await expect(page.get_by_role("heading", name="Is it you?")).to_be_visible()
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("heading", name="Your new key")).to_be_visible()
    await expect(page.locator(".cards")).to_contain_text("laptop")


async def test_one_device_is_registered_once_and_a_second_one_beside_it(
    box: Box, desk: Desk, device: Device, mia: User
) -> None:
    await register(box, desk, device, mia)
    await desk.sign_in(mia)
    page = device.page
    await page.goto(box.site.origin + "/account")
    await page.get_by_role("button", name="Add a passkey").click()
    await page.get_by_role("button", name="Make the passkey").click()
    await expect(page.get_by_role("alert")).to_have_text("This device has a passkey for this account already.")
    await device.devtools.send("WebAuthn.clearCredentials", {"authenticatorId": device.id})
    assert await register(box, desk, device, mia, name="Phone") == [], "there are codes already"
    standing = await box.factors.of(mia.id)
    assert [each.name for each in standing.passkeys] == ["Laptop", "Phone"] and standing.codes_left == 10
    assert len({each.handle for each in standing.passkeys}) == 1


async def test_a_passkey_that_was_removed_opens_nothing(box: Box, desk: Desk, device: Device, mia: User) -> None:
    await register(box, desk, device, mia)
    await desk.sign_in(mia)
    page = device.page
    await page.goto(box.site.origin + "/account")
    await page.get_by_text("Remove…").click()
    await page.get_by_role("button", name="Remove Laptop").click()
    await expect(page.locator("#factors")).not_to_contain_text("Laptop")
    assert (await box.factors.of(mia.id)).codes_left == 0
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("This passkey was not accepted")


@pytest.mark.attacks
async def test_an_answer_that_was_seen_is_worth_nothing_later_or_elsewhere(
    box: Box, desk: Desk, device: Device, mia: User
) -> None:
    await register(box, desk, device, mia)
    await device.page.goto(box.site.origin + "/sign-in")
    form = await form_cookie(desk)
    answer = await answer_for(device.page, await options_at(box, "/sign-in/passkey", form))
    assert await send(box, "/sign-in/passkey", "o" * 43, answer=answer) == 401, "another browser's"
    assert await send(box, "/sign-in/passkey", form, answer=answer) == 303
    await box.db.execute("UPDATE passkeys SET sign_count = 0")  # as of one that counts nothing
    assert await send(box, "/sign-in/passkey", form, answer=answer) == 401, "used already"
    assert await send(box, "/sign-in/second", form, answer=answer) == 401, "no half-session"


@pytest.mark.attacks
async def test_an_answer_that_somebody_has_changed_is_refused(box: Box, desk: Desk, device: Device, mia: User) -> None:
    await register(box, desk, device, mia)
    ben = await joined(box, "ben")
    await device.page.goto(box.site.origin + "/sign-in")
    form = await form_cookie(desk)

    async def fresh() -> dict[str, Any]:
        made: dict[str, Any] = json.loads(
            await answer_for(device.page, await options_at(box, "/sign-in/passkey", form))
        )
        return made

    def swapped(text: str) -> str:
        return text[:40] + ("A" if text[40] != "A" else "B") + text[41:]

    for part in ("clientDataJSON", "authenticatorData", "signature", "userHandle"):
        changed = await fresh()
        changed["response"][part] = swapped(changed["response"][part])
        assert await send(box, "/sign-in/passkey", form, answer=json.dumps(changed)) == 401, part
        for value in WRONG:
            changed = await fresh()
            changed["response"][part] = value
            assert await send(box, "/sign-in/passkey", form, answer=json.dumps(changed)) == 401, (part, value)
    for part in ("id", "rawId", "type", "response"):
        for value in WRONG:
            assert await send(box, "/sign-in/passkey", form, answer=json.dumps({**await fresh(), part: value})) == 401
    assert box.sessions.of(mia.id) == [] and box.sessions.of(ben.id) == []
    assert await send(box, "/sign-in/passkey", form, answer=json.dumps(await fresh())) == 303, "as it is, it would do"


@pytest.mark.attacks
async def test_a_workspaces_page_gets_an_answer_in_our_name_that_is_worth_nothing(
    box: Box, desk: Desk, device: Device, mia: User
) -> None:
    await register(box, desk, device, mia)
    runtime = await box.workspace(mia)
    page = device.page
    await page.goto(box.site.origin + "/sign-in")
    form = await form_cookie(desk)
    script = await page.evaluate(
        "answerTo.toString() + shown.toString() + `const toBytes=${toBytes},toText=${toText},listed=${listed};`"
    )
    options = await options_at(box, "/sign-in/passkey", form)
    await page.goto(box.site.workspace_origin(runtime.slug) + "/.clawloops/static/app.css")
    answer = await page.evaluate(f"async (told) => {{ {script} return answerTo(JSON.parse(told)) }}", options)
    assert json.loads(answer)["response"]["signature"], "a browser lets a host below ours ask"
    assert await send(box, "/sign-in/passkey", form, answer=answer) == 401
    assert box.sessions.of(mia.id) == []


@pytest.mark.attacks
async def test_a_copy_whose_counter_went_back_is_refused_and_told(
    box: Box, desk: Desk, device: Device, mia: User
) -> None:
    await register(box, desk, device, mia)
    page = device.page
    before = (await device.credentials())[0]
    await page.goto(box.site.origin + "/sign-in")
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("heading", name="Hello, Mia")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await device.counts(before, before["signCount"])
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("This passkey was not accepted")
    entry = next(each for each in await box.audit.latest() if each.action == "passkey refused")
    assert entry.actor == mia.id and "Laptop: its counter went back" in entry.detail


async def test_a_member_who_was_disabled_is_refused(box: Box, desk: Desk, device: Device, mia: User) -> None:
    await register(box, desk, device, mia)
    await box.db.execute("UPDATE users SET disabled_at = 1 WHERE id = $1", mia.id)
    await box.accounts.load()
    page = device.page
    await page.goto(box.site.origin + "/sign-in")
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("This passkey was not accepted")


async def test_whoever_cannot_show_who_they_are_to_the_device_is_not_let_in(
    box: Box, desk: Desk, device: Device, mia: User
) -> None:
    await register(box, desk, device, mia)
    await device.devtools.send("WebAuthn.setUserVerified", {"authenticatorId": device.id, "isUserVerified": False})
    await device.page.goto(box.site.origin + "/sign-in")
    form = await form_cookie(desk)
    options = json.loads(await options_at(box, "/sign-in/passkey", form))
    assert options["userVerification"] == "required"
    careless = json.dumps({**options, "userVerification": "discouraged"})
    assert await send(box, "/sign-in/passkey", form, answer=await answer_for(device.page, careless)) == 401


async def test_a_registration_is_taken_from_its_own_session_alone_and_once(
    box: Box, desk: Desk, device: Device, mia: User
) -> None:
    ben = await joined(box, "ben")
    (token, _), (bens, _) = await box.signed_in(mia), await box.signed_in(ben)
    await device.page.goto(box.site.origin + "/sign-in")
    options = await (await box.page("/account/passkeys/options", token)).text()
    answer = await answer_for(device.page, options)
    for other in (bens, (await box.signed_in(mia))[0]):
        assert (await box.send("/account/passkeys", other, name="x", answer=answer)).status == 400
    assert (await box.send("/account/passkeys", token, name="", answer=answer)).status == 400
    assert (await box.send("/account/passkeys", token, name="Laptop", answer=answer)).status == 200
    assert (await box.send("/account/passkeys", token, name="Laptop", answer=answer)).status == 400
    assert [each.name for each in (await box.factors.of(mia.id)).passkeys] == ["Laptop"]
    assert not (await box.factors.of(ben.id)).has_factor


async def test_of_two_first_ones_in_two_tabs_both_open_or_none(box: Box, desk: Desk, device: Device, mia: User) -> None:
    token, _ = await box.signed_in(mia)
    await device.page.goto(box.site.origin + "/sign-in")
    options = [await (await box.page("/account/passkeys/options", token)).text() for _ in range(2)]
    answers = []
    for each in options:
        answers.append(await answer_for(device.page, each))
        await device.devtools.send("WebAuthn.clearCredentials", {"authenticatorId": device.id})
    assert (await box.send("/account/passkeys", token, name="One", answer=answers[0])).status == 200
    assert (await box.send("/account/passkeys", token, name="Two", answer=answers[1])).status == 400
    assert [each.name for each in (await box.factors.of(mia.id)).passkeys] == ["One"]


async def test_without_script_the_pages_have_another_way(box: Box, desk: Desk, mia: User) -> None:
    context = await desk.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
    page = await context.new_page()
    await page.goto(box.site.origin + "/sign-in")
    await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
    await page.get_by_label("Login").fill("mia")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_role("heading", name="Hello, Mia")).to_be_visible()
    await page.goto(box.site.origin + "/account")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_text("This needs JavaScript")).to_be_visible()
    await context.close()
