"""Signing in with an identity provider, as a browser does it: from our button, over the provider's pages, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from clawloops.control.issuer import RETURN
from clawloops.model.account import Role, User
from clawloops.model.issuer import FirstLogin, Issuer, Rule
from clawloops.web import cookies
from tests.oidc.crooked import CLIENT, SECRET, Crooked, serving
from tests.oidc.server import Person, Setup
from tests.web.box import Box
from tests.web.test_account import joined
from tests.web.test_second_step import Browser

Page = tuple[int, str, str]  # status, where it leads, text

SETTINGS = Issuer(
    url="", client_id="clawloops", label="Castle", scopes="openid profile email groups", ca="",
    first_login=FirstLogin.INVITED, groups_claim="groups", domains=(), rules=(), is_only=False,
)  # fmt: skip


def setup_for(box: Box, **changes: Any) -> Setup:
    return Setup(redirect=box.site.origin + RETURN, **changes)


async def trust(box: Box, setup: Setup, by: User, **changes: Any) -> None:
    """An admin sets the provider up."""
    wanted = replace(SETTINGS, url=setup.issuer, client_id=setup.client_id, **changes)
    await box.issuers.set(wanted, secret=setup.secret, by=by)


async def go(browser: Browser, person: Person, start: str = "/sign-in/with") -> Page:
    """From an address of ours that leads there; what our page says in the end."""
    status, away, _ = await browser.get(start)
    assert status == 303, away
    return await arrive(browser, await person.visit(away))


async def arrive(browser: Browser, address: str) -> Page:
    """The browser comes back with what the provider gave it."""
    parts = urlsplit(address)
    return await browser.get(f"{parts.path}?{parts.query}")


async def trust_crooked(box: Box, by: User, crooked: Crooked, *, ca: str = "") -> None:
    """Whoever it says is in its group "agents" becomes a member."""
    rules = (Rule("agents", Role.MEMBER),)
    wanted = replace(SETTINGS, url=crooked.issuer, client_id=CLIENT, first_login=FirstLogin.MEMBERS, rules=rules, ca=ca)
    await box.issuers.set(wanted, secret=SECRET, by=by)


async def leave(browser: Browser, crooked: Crooked, path: str = "/sign-in/with") -> str:
    """The state that the browser goes there with; the provider knows the nonce then."""
    status, away, text = await browser.get(path)
    assert status == 303, text
    query = parse_qs(urlsplit(away).query)
    crooked.nonce = query["nonce"][0]
    return query["state"][0]


async def come_back(browser: Browser, state: str, more: str = "&code=good") -> Page:
    return await browser.get(f"/sign-in/return?state={quote(state)}{more}")


async def sign_in(box: Box, crooked: Crooked) -> tuple[Browser, Page]:
    browser = Browser(box)
    return browser, await come_back(browser, await leave(browser, crooked))


def is_out(browser: Browser) -> bool:
    return cookies.SESSION not in browser.kept


@pytest.fixture
async def olga(box: Box) -> User:
    return await joined(box, "olga", Role.OWNER)


@pytest.fixture
async def crooked(box: Box, olga: User) -> AsyncIterator[Crooked]:
    async with serving(Crooked()) as found:
        await trust_crooked(box, olga, found)
        yield found
