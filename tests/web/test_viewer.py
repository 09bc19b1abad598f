"""A viewer sees how the box does, and changes nothing: every address and every operation, tried one by one."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser

from clawloops.errors import NotSignedIn
from clawloops.model.account import Role
from clawloops.model.runtime import Phase, Want
from clawloops.web.api.table import OPERATIONS
from clawloops.web.routes import DASHBOARD, For
from tests.web import scenes
from tests.web.api.program import filled, program
from tests.web.box import Box
from tests.web.desk import browser, desk
from tests.web.test_account import joined

__all__ = ["browser", "desk"]

SEES = {"/models", "/budgets", "/box", "/box/live", "/box/gauges/live"}
OWN = {"/sign-out", "/confirm/passkey", "/confirm/with", "/confirm/done", "/", "/usage", "/usage.csv", "/usage/now"}
ANYBODY = {"/healthz", "/ca.crt", "/trust", "/static/{name}", "/language"} | {
    "/join/{token}", "/join/{token}/with", "/reset/{token}"
}  # fmt: skip


def _is_known(box: Box, key: str) -> bool:
    try:
        box.directory.find_key(key)
    except NotSignedIn:
        return False
    return True


def _filled(path: str) -> str:
    return re.sub(r"{\w+}", "x1", path)


def test_the_table_says_what_a_viewer_may_open() -> None:
    assert {each.path for each in DASHBOARD if each.access is For.OVERSEER} == SEES
    assert all(each.method == "GET" for each in DASHBOARD if each.access is For.OVERSEER)
    own = {each.path for each in DASHBOARD if each.access is For.PERSON}
    assert {each for each in own if not each.startswith("/account")} == OWN
    assert not any(each.startswith("/account/tokens") for each in own)
    anybody = {each.path for each in DASHBOARD if each.access is For.ANYBODY}
    assert {each for each in anybody if not each.startswith("/sign-in")} == ANYBODY


@pytest.mark.attacks
async def test_every_other_address_is_refused_to_a_viewer_and_every_change(box: Box) -> None:
    await scenes.with_models(box)
    vic = await box.member("vic", Role.VIEWER)
    token, _ = await box.signed_in(vic)
    entries = len(await box.audit.latest())
    for each in DASHBOARD:
        if each.access in (For.ANYBODY, For.PERSON):
            continue
        at = _filled(each.path)
        if each.method == "GET" and each.access is not For.OVERSEER:
            assert (await box.page(at, token)).status == 403, each.path
        elif each.method == "POST":
            assert (await box.send(at, token, name="x", role="admin")).status == 403, each.path
    assert len(await box.audit.latest()) == entries and await box.db.fetch("SELECT id FROM runtimes") == []
    for path in ("/models", "/budgets", "/box", "/usage", "/account", "/usage.csv"):
        assert (await box.page(path, token)).status == 200, path
    first = await box.page("/", token)
    assert (first.status, first.headers["Location"]) == (303, "/box")


@pytest.mark.attacks
async def test_no_operation_is_open_to_a_viewer_whatever_a_token_s_row_says(box: Box) -> None:
    call = await program(box, await box.member("vic"))
    await box.db.execute("UPDATE users SET role = 'viewer'")
    await box.accounts.load()
    refused = {f"{each.method} {each.path}": (await call(each.method, filled(each))).status for each in OPERATIONS}
    assert set(refused.values()) == {403}, refused


@pytest.mark.attacks
async def test_whoever_becomes_a_viewer_loses_workspace_keys_and_tokens_at_once(box: Box) -> None:
    olga, mia = await joined(box, "olga", Role.OWNER), await joined(box, "mia")
    call = await program(box, mia)
    _, key = await box.keys.make(name="laptop", models=[], days=0, by=mia)
    runtime = await box.workspace(mia)
    cookie, _ = await box.inside(mia, runtime)
    before, _ = await box.signed_in(mia)
    boss, _ = await box.signed_in(olga)
    assert (await box.send(f"/members/{mia.id}/role", boss, role="viewer")).status == 303
    assert not _is_known(box, key) and (await call("GET", "/me")).status == 401
    assert (await box.page("/box", before)).status == 303, "signed out"
    inside = await box.page("/", cookie, host=box.site.workspace_host(runtime.slug))
    assert inside.status == 302 and "/handover" in inside.headers["Location"]
    assert (await box.runtimes.get(runtime.id, by=olga)).want is Want.STOPPED
    after, _ = await box.signed_in(mia)
    assert (await box.page("/handover?host=x", after)).status == 403
    assert (await box.send(f"/box/workspaces/{runtime.id}/start", boss)).status == 409
    await box.keys.load()
    assert not _is_known(box, key), "nor after a restart"
    assert (await box.send(f"/members/{mia.id}/role", boss, role="member")).status == 303
    assert _is_known(box, key) and (await call("GET", "/me")).status == 401


async def test_a_viewer_s_workspace_session_that_outlived_a_restart_opens_nothing(box: Box) -> None:
    mia = await joined(box, "mia")
    runtime = await box.workspace(mia)
    cookie, _ = await box.inside(mia, runtime)
    await box.db.execute("UPDATE users SET role = 'viewer'")  # the process ended before it had ended the sessions
    await box.accounts.load()
    await box.sessions.load()
    assert (await box.page("/", cookie, host=box.site.workspace_host(runtime.slug))).status == 403


@pytest.mark.browser
async def test_a_viewer_is_offered_nothing_that_would_be_refused(box: Box, browser: Browser) -> None:
    olga, vic = await joined(box, "olga", Role.OWNER), await joined(box, "vic", Role.VIEWER)
    await scenes.with_models(box)
    await scenes.with_people(box, olga)
    await scenes.with_groups(box, olga)
    await scenes.with_budgets(box, olga)
    await scenes.with_usage(box)
    await box.workspace(olga, Phase.READY)
    token, _ = await box.signed_in(vic)
    allowed = [re.compile(re.sub(r"{\w+}", "[^/]+", each.path) + r"(\?.*|#.*)?$") for each in DASHBOARD
               if each.access in (For.ANYBODY, For.PERSON, For.OVERSEER)]  # fmt: skip
    context = await browser.new_context()
    await context.add_cookies(
        [{"name": "__Host-cl_session", "value": token, "url": f"https://{box.site.base}/", "httpOnly": True}]
    )
    page = await context.new_page()
    for path in ("/box", "/models", "/budgets", "/usage", "/account"):
        await page.goto(box.site.origin + path)
        shown = page.locator("a[href^='/']:visible")
        links = [str(await shown.nth(number).get_attribute("href")) for number in range(await shown.count())]
        assert [each for each in links if not any(one.match(each) for one in allowed)] == [], path
        buttons = await page.locator("main form[method=post] button:visible").count()
        offers = await page.locator("main details:has(form[method=post]) > summary:visible").count()
        assert (buttons > 2) if path == "/account" else (buttons, offers) == (0, 0), path
        if path == "/box":
            assert await page.locator("[id^=runtime-]:visible").count() > 0, "what a viewer is for"
    await context.close()
