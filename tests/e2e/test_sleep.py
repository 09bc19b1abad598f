"""A workspace that nobody uses sleeps, and comes back as if it had never been away: real OpenClaw, a real browser."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.appliance import docker
from tests.e2e.chat import Chat
from tests.e2e.story import BOOT_LIMIT_S, CHAT_LIMIT_S, MEMBER, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(400),
    pytest.mark.parametrize("story", ["http"], indirect=True),
]

SLEEPY = {"CLAWLOOPS_PAUSE_AFTER_MINUTES": "0.05", "CLAWLOOPS_STOP_AFTER_MINUTES": "600"}
USUAL = {"CLAWLOOPS_PAUSE_AFTER_MINUTES": "15", "CLAWLOOPS_STOP_AFTER_MINUTES": "240"}


@pytest.fixture(scope="module")
def sleepy(story: Story) -> Iterator[Story]:
    """The appliance with workspaces that fall asleep after three seconds; as before when the module is done."""
    story.reach("chatted through LiteLLM")
    story.appliance.change(SLEEPY)
    yield story
    story.appliance.change(USUAL)
    story.member.start_and_wait(BOOT_LIMIT_S)


def _status(story: Story) -> str:
    status: str = json.loads(docker("inspect", story.runtime))[0]["State"]["Status"]
    return status


def _until(story: Story, status: str, limit_s: float = 200) -> None:
    """OpenClaw, where it says that it is busy, is asked again a minute later: the limit has room for two of these."""
    until = time.monotonic() + limit_s
    while (now := _status(story)) != status:
        if time.monotonic() > until:
            story.member.visit("/workspace")
            pytest.fail(f"it is {now}, and should be {status}: {story.member.page.locator('#why').inner_text()}")
        time.sleep(0.1)


def test_a_workspace_sleeps_under_an_open_page_and_the_next_message_is_answered(sleepy: Story) -> None:
    story = sleepy
    story.member.page.goto(story.workspace)
    story.chat.wait_until_usable(BOOT_LIMIT_S)
    _until(story, "paused")
    story.member.page.wait_for_timeout(45_000)  # longer than the page would wait for a silent server
    assert _status(story) == "paused", "an open page alone kept it awake"
    expect(story.member.page.get_by_text("Connected", exact=True).first).to_be_attached()
    story.picture(story.member.page, "asleep-under-an-open-page")
    answer = story.chat.ask("Are you awake?", CHAT_LIMIT_S)
    assert "cloud39" in answer.text
    story.figures["send to first token, workspace asleep, s"] = answer.first_ms / 1000
    story.picture(story.member.page, "answered-from-sleep")


def test_the_dashboard_says_that_it_sleeps_and_why(sleepy: Story) -> None:
    story = sleepy
    story.member.page.goto("about:blank")
    _until(story, "paused")
    story.member.visit("/workspace")
    expect(story.member.page.locator("#workspace-state")).to_contain_text("Asleep")
    expect(story.member.page.locator("#why")).to_contain_text("nobody used it")
    for kind in ("sleep", "wake", "pause"):
        expect(story.member.page.locator(f"[data-kind={kind}]").first).to_be_visible()
    story.picture(story.member.page, "workspace-asleep")


def test_a_visit_wakes_a_paused_workspace_within_the_answer(sleepy: Story) -> None:
    """Twelve visits: the first byte of OpenClaw's page, with the whole way through Traefik and ForwardAuth."""
    story = sleepy
    page = story.member.page
    story.member.visit("/")
    address = story.workspace
    page.goto(address)
    page.goto("about:blank")
    took = []
    for _ in range(12):
        _until(story, "paused")
        reply = page.goto(address, wait_until="commit")
        assert reply is not None and reply.status == 200, "a sleeping one showed something else first"
        timing = reply.request.timing
        took.append(timing["responseStart"] - timing["requestStart"])
        page.goto("about:blank")
    story.figures["visit to first byte, paused, median, s"] = statistics.median(took) / 1000
    story.figures["visit to first byte, paused, longest of 12, s"] = max(took) / 1000


def test_paused_for_long_it_is_stopped_and_a_visit_boots_it_with_progress(sleepy: Story) -> None:
    story = sleepy
    story.member.page.goto("about:blank")
    story.appliance.change({**SLEEPY, "CLAWLOOPS_STOP_AFTER_MINUTES": "0.05"})
    _until(story, "exited")
    story.member.visit("/workspace")
    expect(story.member.page.locator("#workspace-state")).to_contain_text("Asleep")
    story.picture(story.member.page, "workspace-stopped-by-sleep")
    story.appliance.change(SLEEPY)
    visitor = story.stranger()
    visitor.sign_in(MEMBER)
    begun = time.monotonic()
    visitor.page.goto(story.workspace)
    visitor.page.locator("#stages").wait_for()
    story.picture(visitor.page, "waking")
    visitor.stages_until_inside(f".ws.{story.appliance.base}", BOOT_LIMIT_S)
    Chat(visitor.page).wait_until_usable(BOOT_LIMIT_S)
    story.figures["visit to usable Control UI, stopped by sleep, s"] = time.monotonic() - begun
    visitor.page.context.close()


def test_a_workspace_that_is_set_to_stay_awake_does(sleepy: Story) -> None:
    story = sleepy
    story.member.visit("/workspace")
    story.member.page.get_by_text("Always on").click()
    story.member.page.get_by_role("button", name="Save settings").click()
    story.member.visit("/")
    story.member.expect_state("Ready", limit_s=BOOT_LIMIT_S)
    story.member.page.goto("about:blank")
    time.sleep(10)
    assert _status(story) == "running"
    story.member.visit("/workspace")
    expect(story.member.page.locator("#why")).to_contain_text("stay awake")
    story.picture(story.member.page, "always-on")
    story.member.page.get_by_text("Pause, then stop").click()
    story.member.page.get_by_role("button", name="Save settings").click()
    _until(story, "paused")
