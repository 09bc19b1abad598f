"""The real appliance without a mouse, from its set-up link into a workspace: so the story is lived over HTTPS."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.by_keyboard import ByKeyboard
from tests.e2e.story import Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(1000),
    pytest.mark.parametrize("story", ["https"], indirect=True),
]


def test_the_first_steps_are_gone_through_from_the_setup_link_by_keyboard_alone(story: Story) -> None:
    story.reach("invited")
    assert isinstance(story.owner, ByKeyboard), "who gives keys and meets no click in the steps up to here"
    story.owner.visit("/first-run")
    for step in ("model", "invite"):
        expect(story.owner.page.locator(f"#{step} .badge")).to_have_text("done")
    expect(story.owner.page.locator("#admin .badge")).to_have_text("skipped")
    story.picture(story.owner.page, "first-steps-by-keyboard")


def test_a_member_joins_and_opens_the_workspace_by_keyboard_alone(story: Story) -> None:
    shown = story.reach("opened")
    assert isinstance(story.member, ByKeyboard)
    assert shown, "the stages were seen on the way, whose end is a chat that can be written in"
