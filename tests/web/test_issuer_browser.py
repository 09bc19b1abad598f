"""The whole way with a real browser and a real identity provider: over its pages, under our own pages' policy."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from clawloops.control.sessions import PROOF_MS
from clawloops.model.account import Role, User
from clawloops.model.issuer import FirstLogin, Rule
from tests.oidc.server import Setup, serving
from tests.web.box import Box
from tests.web.desk import Desk, browser
from tests.web.sign_on import setup_for, trust
from tests.web.test_account import joined

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.oidc]


@pytest.fixture
async def castle(box: Box) -> AsyncIterator[Setup]:
    async with serving(setup_for(box)) as setup:
        yield setup


@pytest.fixture
async def olga(box: Box) -> User:
    return await joined(box, "olga", Role.OWNER)


async def _desk(box: Box, browser: Browser) -> tuple[BrowserContext, Desk]:
    context = await browser.new_context()
    await context.route(re.compile("^https:"), lambda route: route.fulfill(body=""))  # fonts of the provider's pages
    return context, Desk(box, context)


async def _sign_in_there(page: Page, login: str) -> None:
    await page.fill('input[name="login"]', login)
    await page.fill('input[name="password"]', "any")
    await page.click('button[type="submit"]')
    await page.click('button[type="submit"]')  # agrees to what we ask for


async def test_somebody_comes_in_confirms_who_they_are_and_leaves(
    box: Box, browser: Browser, castle: Setup, olga: User
) -> None:
    await trust(box, castle, olga, first_login=FirstLogin.MEMBERS, rules=(Rule("agents", Role.MEMBER),))
    context, desk = await _desk(box, browser)
    desk.expect_complaints("403 (Forbidden)")  # of the page that asks who it is
    page = await context.new_page()
    await page.goto(box.site.origin + "/keys")
    await page.click("#issuer")
    await _sign_in_there(page, "ada")
    await expect(page).to_have_url(box.site.origin + "/keys")
    await expect(page.locator(".who")).to_have_text("Ada Lovelace")
    await box.db.execute("UPDATE sessions SET proved_at = proved_at - $1", PROOF_MS)
    await box.sessions.load()
    await page.fill('input[name="name"]', "My laptop")
    await page.locator('form[action="/keys"] button').first.click()
    await page.click("text=Confirm with Castle")
    await page.fill('input[name="login"]', "ada")
    await page.fill('input[name="password"]', "any")
    await page.click('button[type="submit"]')
    await expect(page.locator("h1")).to_have_text("It is you")
    await page.click("text=Go on")
    await expect(page.locator("main")).to_contain_text("My laptop")
    await page.click("text=Sign out")
    await expect(page.locator("#issuer")).to_be_visible()
    await context.close()
    assert desk.complaints == []


async def test_an_owner_links_their_account_by_a_page_of_ours(
    box: Box, browser: Browser, castle: Setup, olga: User
) -> None:
    await trust(box, castle, olga)
    context, desk = await _desk(box, browser)
    await desk.sign_in(olga)
    page = await context.new_page()
    await page.goto(box.site.origin + "/account")
    await page.click("text=Link Castle")
    await page.click("text=Go to Castle")
    await _sign_in_there(page, "ben")
    await expect(page).to_have_url(box.site.origin + "/account?linked")
    await expect(page.locator("main")).to_contain_text("You sign in with ben")
    await context.close()
    assert desk.complaints == []
