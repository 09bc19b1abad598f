"""From the set-up link to the press of "Open workspace" without a mouse: Tab, letters, Enter and Space alone."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from clawloops.control.connecting import BundledParts
from tests.keyboard import FOCUSED, Way
from tests.upstream import Script, serve
from tests.web.box import Box
from tests.web.desk import Desk, browser, desk
from tests.web.tools import tools_door

__all__ = ["browser", "desk"]

pytestmark = pytest.mark.browser


class Hands:
    """Whoever works a page with a keyboard alone. Nothing here knows where anything is on the screen."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def reach(self, kind: str, name: str) -> None:
        """Tab until it has the focus."""
        way = Way(kind, name)
        while not way.ends(await self._page.evaluate(FOCUSED)):
            await self._page.keyboard.press("Tab")

    async def fill(self, name: str, text: str) -> None:
        await self.reach("input", name)
        await self._page.keyboard.type(text)

    async def press(self, name: str, *, kind: str = "button", key: str = "Enter") -> None:
        """And wait until the page that it leads to is there."""
        await self.reach(kind, name)
        await self.send(key)

    async def send(self, key: str = "Enter") -> None:
        """The same from where the focus is."""
        async with self._page.expect_navigation():
            await self._page.keyboard.press(key)


@pytest.mark.limit(300)
async def test_the_first_run_is_gone_through_by_keyboard_alone(
    box: Box, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await box.invitations.setup_link()
    assert link is not None
    page = await desk.context.new_page()
    hands = Hands(page)
    async with serve() as upstream, tools_door(box):
        upstream.scripts["tiny"] = Script(words=["Good", " morning."])
        monkeypatch.setattr(box.backends, "_bundled", BundledParts(upstream.url, "", ""))
        await page.goto(link)
        await hands.fill("Your name", "Olga")
        await hands.fill("Login", "olga")
        await hands.fill("Password", "a correct horse")
        await hands.press("Become the owner")
        await expect(page.get_by_role("heading", name="Hello, Olga")).to_be_visible()
        await hands.press("Skip this step: You, the admin", key="Space")
        await expect(page.locator("#model[aria-current=step]")).to_be_visible()
        await hands.fill("Models", "tiny")
        await hands.press("Check and connect")
        await hands.press("Ask it for a word", key="Space")
        await expect(page.get_by_text("“Good morning.”")).to_be_visible()
        assert (await page.evaluate(FOCUSED))[:2] == ["a", "Go on"], "the next thing to press has the focus"
        await hands.press("Go on", kind="a")
        await expect(page.locator("#invite[aria-current=step]")).to_be_visible()
        await hands.fill("For whom", "Ben")
        await hands.send()
        await expect(page.get_by_role("textbox", name="Invitation link")).to_be_visible()
        assert (await page.evaluate(FOCUSED))[:2] == ["button", "Copy"]
        await hands.press("Go on", kind="a")
        await expect(page.get_by_role("heading", name="That was all")).to_be_visible()
        await hands.press("Open workspace")
        await expect(page.get_by_role("heading", name="Opening your workspace")).to_be_visible()
    (olga,) = box.accounts.members()
    assert await box.runtimes.of_owner(olga.id) is not None
    assert [each.note for each in await box.invitations.open()] == ["Ben"]


async def test_a_refused_field_has_the_focus_and_a_kind_is_opened_with_a_key(box: Box, desk: Desk) -> None:
    link = await box.invitations.setup_link()
    assert link is not None
    page = await desk.context.new_page()
    hands = Hands(page)
    await page.goto(link)
    await hands.fill("Your name", "Olga")
    await hands.fill("Login", "olga")
    await hands.fill("Password", "a correct horse")
    await hands.send()
    await hands.press("A first model: do it now", kind="a")
    await hands.reach("summary", "OpenAI-compatible server")
    await page.keyboard.press("Space")
    await hands.fill("Address", "http://localhost:8000/v1")
    desk.expect_complaints("status of 400")
    await hands.press("Check and connect")
    assert (await page.evaluate(FOCUSED))[:2] == ["input", "Address"]
    await expect(page.locator("#openai-url-note")).to_contain_text("host.docker.internal")
