"""Bad input and broken parts, on the appliance of the main job: each has a clear text, and nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.appliance import docker
from tests.e2e.browser import CHROMIUM
from tests.e2e.dashboard import Account
from tests.e2e.story import BOOT_LIMIT_S, CLOUD_MODEL, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.faults,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="this machine has no package named chromium"),
    # Once is enough: nothing below depends on the way a browser came here.
    pytest.mark.parametrize("story", [pytest.param("http", id="http")], indirect=True),
]


@pytest.mark.limit(1000)
def test_a_wrong_model_address_is_named_beside_its_field(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    nowhere = f"http://{story.appliance.gateway_of('llmout')}:9/v1"
    story.owner.connect("OpenAI-compatible server", url=nowhere, models="x")
    form = story.owner.kind("OpenAI-compatible server")
    expect(form.get_by_text(re.compile("Nothing answers at"))).to_be_visible(timeout=60_000)
    expect(form.get_by_label("Address")).to_have_attribute("aria-invalid", "true")
    expect(form.get_by_label("Address")).to_have_value(nowhere)
    story.picture(story.owner.page, "wrong-address")


@pytest.mark.limit(300)
def test_a_refused_key_is_named_and_never_shown_again(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    wrong = "sk-wrong-0123456789abcdef"
    story.owner.connect(
        "Provider key", provider="openai", key=wrong, models=CLOUD_MODEL, url=f"{story.upstream.url}/v1"
    )
    form = story.owner.kind("Provider key")
    expect(form.get_by_text(re.compile("refused the key"))).to_be_visible(timeout=60_000)
    assert wrong not in story.owner.page.content()
    story.picture(story.owner.page, "refused-key")
    assert wrong not in docker("logs", story.appliance.service("clawloops"))


def test_used_links_say_that_they_are_used(story: Story) -> None:
    story.reach("joined")
    stranger = story.stranger()
    for link in (story.appliance.setup_link, str(story.told["invited"])):
        assert stranger.visit(link) == 410
        expect(
            stranger.page.get_by_text(re.compile("used already or has expired|has its owner already"))
        ).to_be_visible()
    stranger.page.context.close()


def test_an_expired_invitation_says_so(story: Story) -> None:
    story.reach("owned")
    link = story.owner.invite("somebody who comes too late")
    story.appliance.rows(
        "UPDATE invitations SET created_at = 1, expires_at = 2 WHERE note = ?", "somebody who comes too late"
    )
    stranger = story.stranger()
    assert stranger.visit(link) == 410
    expect(stranger.page.get_by_text(re.compile("has expired"))).to_be_visible()
    story.picture(stranger.page, "expired-invitation")
    stranger.page.context.close()


@pytest.mark.limit(300)
def test_a_model_backend_that_is_down_is_said_in_the_chat_and_answers_again_when_it_is_back(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.chat.page.goto(_workspace_of(story))
    story.chat.wait_until_usable(BOOT_LIMIT_S)
    litellm = story.appliance.service("litellm")
    docker("stop", "-t", "2", litellm)
    try:
        story.chat.send("Is anybody there?")
        said = re.compile("temporarily unavailable|does not answer|unavailable|failed|error", re.IGNORECASE)
        expect(story.chat.log.get_by_text(said).last).to_be_visible(timeout=90_000)
        story.picture(story.chat.page, "backend-down")
    finally:
        docker("start", litellm)
    # OpenClaw goes on trying by itself: the question is answered without being asked again.
    expect(story.chat.log).to_contain_text(re.compile(r"Is anybody there\?.*cloud39", re.DOTALL), timeout=150_000)


@pytest.mark.limit(400)
def test_a_control_plane_that_restarts_while_a_workspace_boots_still_finishes_it(story: Story) -> None:
    story.reach("owned")
    guest = Account("Gus Guest", "gus", "a third long password")
    link = story.owner.invite("Gus")
    window = story.stranger()
    window.join(link, guest)
    window.open_workspace()
    window.page.locator("#stages").wait_for()
    _until_a_container_of(story, "gus")
    docker("restart", "-t", "0", story.appliance.service("clawloops"))
    window.stages_until_inside(f".ws.{story.appliance.base}", BOOT_LIMIT_S)
    expect(window.page.get_by_role("textbox", name="Chat composer")).to_be_editable(timeout=60_000)
    story.picture(window.page, "opened-despite-a-restart")
    (row,) = story.appliance.rows("SELECT r.id FROM runtimes r JOIN users u ON u.id = r.owner WHERE u.login = 'gus'")
    names = [each for each in story.appliance.containers() if row["id"] in each]
    assert names == [story.appliance.runtime(row["id"])]
    window.delete_container()
    window.expect_state("Container deleted", limit_s=90)
    window.page.context.close()


@pytest.mark.limit(300)
def test_when_the_edge_dies_all_that_shares_its_network_comes_back_by_itself(story: Story) -> None:
    story.reach("opened")
    before = story.appliance.containers()
    sharers = [f"clawloops-{story.appliance.id}-{part}" for part in ("edge", "traefik", "clawloops")]
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", sharers[0]).strip())
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while any(story.appliance.containers()[each] == before[each] for each in sharers) or not _healthy(story):
        assert time.monotonic() < until, "the appliance was not back within 60 s"
        time.sleep(0.5)
    story.member.page.goto(story.appliance.origin)
    story.member.expect_state("Ready", limit_s=60)
    story.picture(story.member.page, "back-after-the-edge-died")


@pytest.mark.limit(400)
def test_installing_again_changes_nothing(story: Story) -> None:
    story.reach("joined")
    kept = [story.appliance.data / ".env", *story.appliance.secret_files]
    files = {each: each.read_bytes() for each in kept}
    containers = story.appliance.containers()
    printed = story.appliance.install()
    assert story.appliance.containers() == containers
    assert {each: each.read_bytes() for each in kept} == files
    assert story.appliance.origin in printed
    assert "/join/" not in printed, "there is an owner, so no set-up link is due"


def _healthy(story: Story) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{story.appliance.http_port}/healthz", headers={"Host": story.appliance.base}
    )
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _workspace_of(story: Story) -> str:
    (row,) = story.appliance.rows("SELECT slug FROM runtimes WHERE id = ?", story.runtime_id)
    return story.appliance.origin.replace("://", f"://{row['slug']}.ws.") + "/"


def _until_a_container_of(story: Story, login: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        rows = story.appliance.rows(
            "SELECT r.id FROM runtimes r JOIN users u ON u.id = r.owner WHERE u.login = ?", login
        )
        if rows and story.appliance.runtime(rows[0]["id"]) in story.appliance.containers():
            return
        time.sleep(0.1)
    raise AssertionError(f"no container for {login} within 30 s")
