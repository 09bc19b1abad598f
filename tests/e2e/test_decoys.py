"""A decoy key that is taken from a real workspace and used from outside: told, stopped, and let go by an admin."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.e2e.appliance import docker
from tests.e2e.story import BOOT_LIMIT_S, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(400),
    pytest.mark.parametrize("story", ["http"], indirect=True),
]


def _found(story: Story) -> str:
    """What somebody finds who looks for keys in the workspace."""
    lines = docker("exec", story.runtime, "grep", "-rhso", "clk_[A-Za-z0-9_-]*", "/run", "/etc", check=False).split()
    (key,) = lines
    return key


def _used(story: Story, key: str) -> int:
    """The status that the public door answers with."""
    host = story.appliance.origin.split("://", 1)[1]
    asked = urllib.request.Request(
        f"http://127.0.0.1:{story.appliance.http_port}/v1/models",
        headers={"Host": host, "Authorization": f"Bearer {key}", "X-Forwarded-For": "198.51.100.7"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.mark.attacks
def test_whoever_uses_what_they_find_stops_the_workspace_until_an_admin_lets_it_go(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    member, owner = story.member, story.owner
    member.start_and_wait(BOOT_LIMIT_S)

    def doctor() -> str:
        return docker("exec", story.appliance.service("clawloops"), "clawloops", "doctor", check=False)

    assert "ok    decoy keys" in doctor()
    found = _found(story)
    assert _used(story, found) == 401
    member.expect_state("Needs attention", limit_s=30)
    expect(member.page.locator("#decoy")).to_contain_text("was used to call a model from outside")
    assert "FAIL  decoy keys" in doctor()
    owner.visit("/")
    expect(owner.page.locator("#alarm")).to_contain_text("is stopped until an admin has looked at it")
    owner.visit("/box")
    story.picture(owner.page, "decoy-used")
    assert "198.51.100.7" not in owner.page.content(), "whoever calls cannot say where from"
    owner.page.get_by_role("button", name=re.compile("^Let it go on")).click()
    expect(owner.page.locator("#alarm")).to_have_count(0)
    member.visit("/")
    member.expect_state("Ready", limit_s=BOOT_LIMIT_S)
    assert _found(story) != found and _used(story, found) == 401
    assert "ok    decoy keys" in doctor()
