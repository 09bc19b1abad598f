"""The pages in a real browser: what only it can tell."""

from __future__ import annotations

import asyncio
import time

import pytest
from playwright.async_api import expect

from clawloops.model.account import Role
from clawloops.model.runtime import Phase, Runtime
from clawloops.web import cookies
from tests.web.box import Box
from tests.web.desk import Desk, browser, desk

__all__ = ["browser", "desk"]

pytestmark = pytest.mark.browser
PASSWORD = "a correct horse"


async def test_a_person_joins_and_opens_a_workspace(box: Box, desk: Desk) -> None:
    link = await box.invitations.setup_link()
    assert link is not None
    page = await desk.context.new_page()
    await page.goto(link)
    await page.get_by_label("Your name").fill("Olga")
    await page.get_by_label("Login").fill("olga")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Become the owner").click()
    await expect(page.get_by_role("heading", name="Hello, Olga")).to_be_visible()
    await page.get_by_role("button", name="Open workspace").click()
    await expect(page.get_by_role("heading", name="Opening your workspace")).to_be_visible()
    olga = box.accounts.members()[0]
    runtime = await box.runtimes.of_owner(olga.id)
    assert runtime is not None
    for phase in (Phase.NETWORK, Phase.CONTAINER, Phase.BOOT):
        box.show(runtime, phase, address="127.0.0.1")
        await expect(page.locator(f'#stages[data-phase="{phase}"]')).to_be_visible(timeout=2000)
    await expect(page.locator(".now .took")).not_to_have_text("0.0 s")
    box.show(runtime, Phase.READY, address="127.0.0.1")
    origin = box.site.workspace_origin(runtime.slug)
    desk.expect_complaints("status of 503")
    # No Traefik here: the catch-all says that the route is on its way, on the workspace's own host, signed in.
    await expect(page.get_by_role("heading", name="Almost there")).to_be_visible(timeout=5000)
    assert page.url == f"{origin}/"
    names = {each["name"] for each in await desk.context.cookies(origin)}
    assert cookies.WORKSPACE in names and cookies.SESSION not in names


@pytest.mark.attacks(10)
async def test_a_workspaces_script_cannot_toss_a_cookie_at_the_dashboard(box: Box, desk: Desk) -> None:
    olga = await box.member("olga", Role.OWNER)
    runtime = await box.workspace(olga, Phase.BOOT)
    await desk.sign_in(olga)
    page = await desk.context.new_page()
    await page.goto(box.site.workspace_origin(runtime.slug) + "/")
    await expect(page.get_by_role("heading", name="waking up")).to_be_visible()
    for name in (cookies.SESSION, "__host-cl_session", "cl_session"):
        await page.evaluate(f"document.cookie = '{name}=x; domain={box.site.base}; path=/; secure'")
        await page.evaluate(f"document.cookie = '={name}=x; domain={box.site.base}; path=/; secure'")
    answer = await page.goto(box.site.origin + "/")
    assert answer is not None and answer.status == 200
    await expect(page.get_by_role("heading", name="Hello, Olga")).to_be_visible()


async def test_a_page_left_open_shows_the_change_and_notices_the_sign_out(box: Box, desk: Desk) -> None:
    mia = await box.member("mia")
    runtime: Runtime = await box.workspace(mia, Phase.BOOT)
    await desk.sign_in(mia)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/")
    await expect(page.locator("#workspace-state")).to_have_text("Starting")
    box.show(runtime, Phase.READY, address="127.0.0.1")
    await expect(page.locator("#workspace-state")).to_have_text("Ready", timeout=1000)
    await box.sessions.revoke_user(mia.id)
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=3000)


@pytest.mark.faults
async def test_a_page_left_open_over_a_restart_recovers_by_itself(box: Box, desk: Desk) -> None:
    mia = await box.member("mia")
    runtime = await box.workspace(mia, Phase.BOOT)
    await desk.sign_in(mia)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/")
    await expect(page.locator("#workspace-state")).to_have_text("Starting")
    desk.expect_complaints("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE")
    began = time.monotonic()
    await box.close_dashboard()
    assert time.monotonic() - began < 1.5, "open streams must not hold up a restart"
    await asyncio.sleep(1)
    box.show(runtime, Phase.READY, address="127.0.0.1")
    await box.open_dashboard()
    await expect(page.locator("#workspace-state")).to_have_text("Ready", timeout=8000)
