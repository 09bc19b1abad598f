"""A real browser, and a desk in it that notes everything that a clean page must not do."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from clawloops.model.account import User
from clawloops.web import cookies
from tests.web.box import Box

SHELL = shutil.which("chromium-headless-shell")
"""The same engine without a browser's own windows, in two thirds of the time."""
WAIT_MS = 15_000  # for what a page is expected to show: other tests run beside these
ARGUMENTS = [
    "--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=SHELL or shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        await browser.close()


class Desk:
    """A browser context that notes everything that a clean page must not do."""

    def __init__(self, box: Box, context: BrowserContext) -> None:
        self.box = box
        self.context = context
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self._expected: tuple[str, ...] = ()
        context.on("console", lambda line: self._note(line.text) if line.type == "error" else None)
        context.on(
            "request", lambda sent: self.elsewhere.append(sent.url) if "clawloops.localhost" not in sent.url else None
        )

    def expect_complaints(self, *parts: str) -> None:
        """What holds one of these from now on is the point of the test; it may come in when the test is over, too."""
        self._expected += parts

    def _note(self, text: str) -> None:
        if not any(each in text for each in self._expected):
            self.complaints.append(text)

    async def sign_in(self, user: User) -> None:
        token, _ = await self.box.signed_in(user)
        url = f"https://{self.box.site.base}/"  # DevTools takes Secure cookies for https only; ports do not matter
        await self.context.add_cookies([{"name": cookies.SESSION, "value": token, "url": url, "httpOnly": True}])


@pytest.fixture
async def desk(box: Box, browser: Browser) -> AsyncIterator[Desk]:
    context = await browser.new_context()
    desk = Desk(box, context)
    yield desk
    await context.close()
    assert (desk.complaints, desk.elsewhere) == ([], [])
