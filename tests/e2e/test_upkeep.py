"""Snapshots, exports and upgrades of a real workspace, by what its member and its admin press."""

from __future__ import annotations

import json
import secrets
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.appliance import docker
from tests.e2e.story import BOOT_LIMIT_S, CHAT_LIMIT_S, MEMBER, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(500),
    pytest.mark.parametrize("story", ["https"], indirect=True),
]

NOTE = "/home/node/.openclaw/workspace/kept.txt"


def write_note(story: Story, text: str) -> None:
    docker("exec", story.runtime, "sh", "-c", f"mkdir -p $(dirname {NOTE}) && echo {text} > {NOTE} && sync")


def read_note(story: Story) -> str:
    return docker("exec", story.runtime, "cat", NOTE).strip()


def _until_done(story: Story, limit_s: float = 180) -> None:
    """The newest piece of work on the page of files is at its end, which the page tells without being loaded again."""
    newest = story.member.page.locator("[data-job]").first
    expect(newest).to_have_attribute("data-job", "done", timeout=limit_s * 1000)


def test_a_snapshot_of_a_running_workspace_is_restored(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    write_note(story, "before")
    started = json.loads(docker("inspect", story.runtime))[0]["State"]["StartedAt"]
    story.member.visit("/workspace/files")
    story.member.page.get_by_label("Name").fill("a good state")
    story.member.page.get_by_role("button", name="Take a snapshot").click()
    _until_done(story)
    assert json.loads(docker("inspect", story.runtime))[0]["State"]["StartedAt"] == started, "it was only paused"
    expect(story.member.page.locator("li[id^=snapshot-]")).to_contain_text("a good state")
    story.picture(story.member.page, "snapshot")
    write_note(story, "after")
    story.member.page.locator("details[id^=restoring-] summary").first.click()
    story.member.page.get_by_role("button", name="Restore it").first.click()
    _until_done(story)
    story.picture(story.member.page, "restored")
    story.member.visit("/")
    story.member.expect_state("Ready", limit_s=BOOT_LIMIT_S)
    assert read_note(story) == "before"


def test_an_export_is_one_file_without_what_acts_in_the_members_name(story: Story, tmp_path: Path) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    write_note(story, "to take away")
    story.member.visit("/workspace/files")
    story.member.page.get_by_role("button", name="Make the file").click()
    _until_done(story)
    with story.member.page.expect_download() as download:
        story.member.page.get_by_role("link", name="Download").first.click()
    download.value.save_as(tmp_path / "export.tar.gz")
    with tarfile.open(tmp_path / "export.tar.gz") as packed:
        names = packed.getnames()
    assert any(name.endswith("workspace/kept.txt") for name in names)
    assert not [name for name in names if "device-auth" in name or "/identity/" in name]


@contextmanager
def _version(story: Story, *lines: str) -> Iterator[str]:
    """Another image of OpenClaw: the one of the install, and these lines."""
    base = story.appliance.settings["CLAWLOOPS_OPENCLAW_IMAGE"]
    tag = f"clawloops/openclaw:test-{secrets.token_hex(4)}"
    docker("build", "-t", tag, "-", stdin="\n".join([f"FROM {base}", *lines]).encode(), limit_s=120)
    try:
        yield tag
    finally:
        docker("image", "rm", "-f", tag)


def _pin(story: Story, image: str) -> None:
    docker("exec", story.appliance.service("clawloops"), "clawloops", "runtime", "pin", MEMBER.login, image)


def _upgrade_of(story: Story, image: str) -> dict[str, str]:
    """The newest move to an image, once it is at its end."""
    until = time.monotonic() + 300
    while True:
        found = story.appliance.rows(
            "SELECT state, note FROM jobs WHERE runtime_id = ? AND task = 'upgrade' AND argument = ?"
            " ORDER BY created_at DESC LIMIT 1",
            story.runtime_id,
            image,
        )
        if found and found[0]["state"] in ("done", "failed"):
            return found[0]
        assert time.monotonic() < until, found
        time.sleep(1)


def test_an_upgrade_keeps_the_files_and_proves_itself_with_an_answer(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    write_note(story, "precious")
    story.member.visit("/workspace")
    with _version(story, "ENV CLAWLOOPS_TEST_VERSION=2") as image:
        _pin(story, image)
        ended = _upgrade_of(story, image)
        assert ended["state"] == "done", ended
        assert json.loads(docker("inspect", story.runtime))[0]["Config"]["Image"] == image
        assert read_note(story) == "precious"
        story.picture(story.member.page, "upgraded")
        story.member.page.goto(story.workspace)
        story.chat.wait_until_back(BOOT_LIMIT_S)  # with what was said before the upgrade
        assert "cloud39" in story.chat.ask("Still there?", CHAT_LIMIT_S).text
        story.member.stop()  # or it would wait for a minute without use, as above
        _pin(story, "")  # back to the image of the box, which is an upgrade like any other
        assert _upgrade_of(story, story.appliance.settings["CLAWLOOPS_OPENCLAW_IMAGE"])["state"] == "done"


def test_an_image_that_does_not_start_is_rolled_back_by_itself(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    write_note(story, "still precious")
    before = json.loads(docker("inspect", story.runtime))[0]["Config"]["Image"]
    story.member.stop()  # nobody uses it, so it begins at once
    with _version(story, 'ENTRYPOINT ["/bin/false"]') as image:
        _pin(story, image)
        ended = _upgrade_of(story, image)
        assert ended["state"] == "failed", ended
        _pin(story, "")
        story.member.start_and_wait(BOOT_LIMIT_S)
    assert json.loads(docker("inspect", story.runtime))[0]["Config"]["Image"] == before
    assert read_note(story) == "still precious"
    story.member.visit("/workspace/files")
    story.picture(story.member.page, "rolled-back")


def test_a_new_master_key_opens_what_the_old_one_sealed(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    master = story.appliance.data / "keys" / "master.key"
    before = master.read_text()
    control = story.appliance.service("clawloops")
    refused = docker("exec", control, "clawloops", "keys", "rotate", check=False)
    assert "a control plane runs on this data" in refused and master.read_text() == before
    story.appliance.compose("stop", "clawloops")
    told = story.appliance.compose("run", "--rm", "clawloops", "clawloops", "keys", "rotate")
    assert "1 provider keys are sealed with it" in told and master.read_text() != before
    story.appliance.compose("start", "clawloops")
    story.member.visit_soon("/healthz", limit_s=60)
    story.member.page.goto(story.workspace)
    story.chat.wait_until_back(BOOT_LIMIT_S)
    assert "cloud39" in story.chat.ask("Do you still have your key?", CHAT_LIMIT_S).text
    told = docker("exec", control, "clawloops", "audit", "verify")
    assert "Nothing is wrong with the audit" in told
