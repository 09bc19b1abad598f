"""The real appliance without a mouse: the three first steps, and into a workspace."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import person
from tests.e2e.chat import Chat
from tests.e2e.dashboard import Account
from tests.e2e.story import BOOT_LIMIT_S, MEMBER, OWNER, Story
from tests.keyboard import FOCUSED, Way

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(300),
    pytest.mark.parametrize("story", ["https"], indirect=True),
]


class Hands:
    """Whoever works a page with a keyboard alone."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def reach(self, kind: str, name: str) -> None:
        """Tab until it has the focus."""
        way = Way(kind, name)
        while not way.ends(self.page.evaluate(FOCUSED)):
            self.page.keyboard.press("Tab")

    def fill(self, name: str, text: str) -> None:
        self.reach("input", name)
        self.page.keyboard.type(text)

    def press(self, name: str, *, kind: str = "button", key: str = "Enter") -> None:
        """And wait until the page that it leads to is there."""
        self.reach(kind, name)
        self.send(key)

    def send(self, key: str = "Enter") -> None:
        """The same from where the focus is."""
        with self.page.expect_navigation():
            self.page.keyboard.press(key)

    def sign_in(self, origin: str, account: Account) -> None:
        self.page.goto(origin)
        self.fill("Login", account.login)
        self.fill("Password", account.password)
        self.send()
        expect(self.page.get_by_role("heading", name=f"Hello, {account.name}")).to_be_visible()


def test_the_first_steps_are_gone_through_by_keyboard_alone(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    hands = Hands(person(story.browser).new_page())
    hands.sign_in(story.appliance.origin, OWNER)
    hands.page.goto(story.appliance.origin + "/first-run")
    hands.press("Skip this step: You, the admin", key="Space")
    hands.press("A first model: look again", kind="a")
    hands.press("Ask it again", key="Space")
    expect(hands.page.locator("#said.good")).to_contain_text("Counted as a call of yours")
    hands.press("Go on", kind="a")
    hands.press("Invite somebody: look again", kind="a")
    hands.fill("For whom", "Nobody in particular")
    hands.send()
    expect(hands.page.get_by_role("textbox", name="Invitation link")).to_be_visible()
    assert hands.page.evaluate(FOCUSED)[:2] == ["button", "Copy"], "the next thing to press has the focus"
    hands.press("Go on", kind="a")
    expect(hands.page.get_by_role("heading", name="That was all")).to_be_visible()
    story.picture(hands.page, "first-steps-by-keyboard")
    hands.page.context.close()


def test_a_workspace_is_opened_by_keyboard_alone(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    hands = Hands(person(story.browser).new_page())
    hands.sign_in(story.appliance.origin, MEMBER)
    hands.press("Open workspace")
    Chat(hands.page).wait_until_usable(BOOT_LIMIT_S)
    assert f".ws.{story.appliance.base}" in hands.page.url
    story.picture(hands.page, "opened-by-keyboard")
    hands.page.context.close()
