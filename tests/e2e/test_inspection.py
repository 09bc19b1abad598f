"""An admin in a member's real OpenClaw: with a reason, before the member's eyes, and out of it within seconds."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from tests.e2e.chat import Chat
from tests.e2e.story import BOOT_LIMIT_S, MEMBER, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(400),
    pytest.mark.parametrize("story", ["http"], indirect=True),
]

WHY = "Max is ill, and a customer waits"
CUT_LIMIT_S = 5.0


@pytest.mark.attacks(15)
def test_a_member_sees_an_admin_in_the_workspace_and_ends_it(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    page, told, owner = story.owner.page.context.new_page(), story.second.page, story.owner
    assert owner.visit(story.workspace) == 403, "the control: without it there is no way in"
    owner.visit(f"/box/workspaces/{story.runtime_id}")
    owner.page.get_by_text(f"Open the workspace of {MEMBER.name}…").click()
    owner.page.get_by_label("Why").fill(WHY)
    owner.page.get_by_label("For how long").select_option("15")
    story.second.visit("/")
    owner.page.get_by_role("button", name=f"Open the workspace of {MEMBER.name}", exact=True).click()
    expect(owner.page.get_by_text(f"You have the workspace of {MEMBER.name} open")).to_be_visible()
    story.picture(owner.page, "opened-by-an-admin")
    expect(told.get_by_text("has your workspace open")).to_be_visible(timeout=10_000)
    expect(told.get_by_text(WHY)).to_be_visible()
    story.picture(told, "the-member-is-told")

    closed: list[float] = []
    page.on("websocket", lambda socket: socket.on("close", lambda _: closed.append(time.monotonic())))
    page.goto(story.workspace)
    Chat(page).wait_until_usable(BOOT_LIMIT_S)
    story.picture(page, "an-admin-inside")
    closed.clear()
    began = time.monotonic()
    told.get_by_role("button", name="End it").click()
    expect(told.locator("#inspected")).to_contain_text(f"{MEMBER.name} has ended it.")
    while not closed and time.monotonic() - began < CUT_LIMIT_S:
        page.wait_for_timeout(100)
    assert closed, "the page that was open has lost its socket"
    story.figures["a member's objection to a cut socket, s"] = closed[0] - began
    answer = page.goto(story.workspace)
    assert answer is not None and answer.status == 403
    story.picture(told, "what-the-member-keeps")
    page.close()
