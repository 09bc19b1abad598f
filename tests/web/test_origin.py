"""CSRF: every route that changes something, against every origin but our own; the table itself is the list."""

from __future__ import annotations

import re

import pytest

from clawloops.model.account import Role
from clawloops.web import cookies
from clawloops.web.routes import DASHBOARD
from tests.web.box import NAVIGATE, Box

MUTATING = [route.path for route in DASHBOARD if route.method not in ("GET", "HEAD")]
FOREIGN = ("https://evil.example", "null", "workspace", "missing")


def test_the_table_holds_nothing_but_reads_and_posts() -> None:
    assert {route.method for route in DASHBOARD} == {"GET", "POST"}
    assert len(MUTATING) >= 13


@pytest.mark.attacks(11)
@pytest.mark.parametrize("origin", FOREIGN)
async def test_no_mutating_route_takes_a_form_from_elsewhere(box: Box, origin: str) -> None:
    owner = await box.member("olga", Role.OWNER)
    runtime = await box.workspace(owner)
    token, session = await box.signed_in(owner)
    headers = {**NAVIGATE, "Cookie": f"{cookies.SESSION}={token}"}
    if origin != "missing":
        headers["Origin"] = box.site.workspace_origin(runtime.slug) if origin == "workspace" else origin
    for path in MUTATING:
        reply = await box.ask(
            "POST", re.sub(r"{\w+}", "x1", path), headers=headers, data={"csrf": cookies.csrf_of(token)}
        )
        assert reply.status == 403, path
    assert box.sessions.is_live(session) and await box.runtimes.of_owner(owner.id) == runtime


@pytest.mark.attacks(11)
@pytest.mark.parametrize(
    "changes",
    [
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": "é"},
    ],
)
async def test_the_right_origin_alone_is_not_enough(box: Box, changes: dict[str, str]) -> None:
    token, session = await box.signed_in(await box.member("mia"))
    headers = {"Origin": box.site.origin, "Cookie": f"{cookies.SESSION}={token}", **changes}
    fields = {} if "X-CSRF-Token" in changes else {"csrf": cookies.csrf_of(token)}
    reply = await box.ask("POST", "/sign-out", headers=headers, data=fields or {"a": "b"})
    assert reply.status == 403 and box.sessions.is_live(session)


async def test_our_own_form_is_taken(box: Box) -> None:
    token, session = await box.signed_in(await box.member("mia"))
    assert (await box.send("/sign-out", token)).headers["Location"] == "/sign-in"
    assert not box.sessions.is_live(session)


@pytest.mark.attacks(11)
async def test_signing_in_needs_a_form_that_this_browser_was_given(box: Box) -> None:
    headers = {"Origin": box.site.origin}
    assert (await box.ask("POST", "/sign-in", headers=headers, data={"login": "a", "password": "b"})).status == 403


@pytest.mark.attacks(11)
async def test_another_content_type_is_not_read(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("mia"))
    headers = {"Origin": box.site.origin, "Cookie": f"{cookies.SESSION}={token}", "Content-Type": "text/plain"}
    assert (await box.ask("POST", "/sign-out", headers=headers, data=f"csrf={cookies.csrf_of(token)}")).status == 400
