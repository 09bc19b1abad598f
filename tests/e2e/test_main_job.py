"""The main job: from a checkout to a person who chats in their own OpenClaw, through every real part."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.bad_input import CONNECT, Bad
from tests.e2e import forms
from tests.e2e.appliance import docker
from tests.e2e.browser import CHROMIUM
from tests.e2e.chat import Answer
from tests.e2e.story import BOOT_LIMIT_S, CLOUD_MODEL, MEMBER, OWNER, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="this machine has no package named chromium"),
]
ONCE = pytest.mark.parametrize("story", ["http"], indirect=True)
OVER_HTTPS = pytest.mark.parametrize("story", ["https"], indirect=True)
"""Nothing of these depends on the way a browser came here: each is in the mode that has less to do."""
NO_OLLAMA = "install.sh left Ollama out here: its Go module cannot be fetched or built"


@pytest.mark.limit(1000)
def test_install_prints_the_dashboards_address_and_a_setup_link(story: Story) -> None:
    printed = str(story.reach("installed"))
    assert story.appliance.origin in printed
    assert story.appliance.setup_link.startswith(story.appliance.origin)
    request = urllib.request.Request(
        f"http://127.0.0.1:{story.appliance.http_port}/healthz", headers={"Host": story.appliance.base}
    )
    if not story.appliance.mode.domain:
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


def test_secrets_are_readable_by_nobody_but_root(story: Story) -> None:
    story.reach("installed")
    secrets = story.appliance.secret_files
    assert {"master.key", "litellm.key"} <= {each.name for each in secrets}
    assert [each.name for each in secrets if each.stat().st_mode & 0o077] == []
    assert (story.appliance.data / ".env").stat().st_mode & 0o077 == 0


def test_the_setup_link_makes_the_owner(story: Story) -> None:
    story.reach("owned")
    expect(story.owner.page.get_by_role("link", name="Members")).to_be_visible()


@OVER_HTTPS
def test_a_first_model_that_cannot_be_had_is_told_beside_its_field(story: Story) -> None:
    story.reach("owned")
    who = story.stranger()
    who.sign_in(OWNER)
    who.visit("/first-run/model")
    forms.refuse(who.page, Bad("/first-run/model", CONNECT, "url"))
    story.picture(who.page, "refused-first-run-model")
    if story.has_ollama:
        who.connect("Ollama on this box")
        expect(who.page.get_by_role("link", name="Library")).to_be_visible()
        who.visit("/first-run/model")
        forms.refuse(who.page, Bad("/first-run/model/pull", {"model": "not a name"}, "model"))
        story.picture(who.page, "refused-first-run-model-pull")
        who.visit("/models")
        assert forms.send(who.page, "/models/backends/{id}/remove", {}) == 200
    who.page.context.close()


def test_the_bundled_ollama_becomes_the_first_model(story: Story) -> None:
    if not story.reach("ollama"):
        pytest.skip(NO_OLLAMA)


def test_a_provider_key_is_checked_with_a_real_call_through_litellm(story: Story) -> None:
    story.reach("provider")
    calls = [each for each in story.upstream.requests() if each["path"].endswith("/chat/completions")]
    assert calls
    assert {each["authorization"] for each in calls} == {f"Bearer {story.provider_key}"}
    assert {each["body"]["model"] for each in calls} == {CLOUD_MODEL}


def test_an_invited_member_joins_and_signs_in(story: Story) -> None:
    story.reach("joined")
    expect(story.member.page.get_by_role("link", name="Members")).to_have_count(0)


@pytest.mark.limit(300)
def test_open_workspace_shows_stages_and_leads_into_the_control_ui(story: Story) -> None:
    shown = story.reach("opened")
    assert isinstance(shown, list)
    for stage in ("Private network", "Container", "OpenClaw starts", "Ready"):
        assert stage in shown[0]
    assert any("now:OpenClaw starts" in each for each in shown), f"no live progress was seen, only {shown}"
    assert len(shown) >= 2
    slug = story.appliance.rows("SELECT slug FROM runtimes WHERE id = ?", story.runtime_id)[0]["slug"]
    assert story.member.page.url.startswith(story.appliance.origin.replace("://", f"://{slug}.ws."))


@ONCE
@pytest.mark.limit(240)
def test_ollama_answers_the_chat(story: Story) -> None:
    answer = story.reach("chatted")
    if answer is None:
        pytest.skip(NO_OLLAMA)
    assert isinstance(answer, Answer)
    assert len(answer.text.split()) > 20
    again = story.chat.ask("Please go on.", 120)
    story.figures["send to first token, Ollama, next turn, s"] = again.first_ms / 1000
    assert len(again.text.split()) > 20


@pytest.mark.limit(240)
def test_a_provider_answers_the_chat_through_litellm_as_it_speaks(story: Story) -> None:
    answer = story.reach("chatted through LiteLLM")
    assert isinstance(answer, Answer)
    assert "cloud0 cloud1" in answer.text
    assert "cloud39" in answer.text
    assert answer.growths >= 3, "the answer came at once instead of as a stream"


def test_the_dashboard_counts_the_members_tokens(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    until = time.monotonic() + 15
    while (used := story.member.tokens()) == 0 and time.monotonic() < until:
        time.sleep(1)
    story.picture(story.member.page, "usage")
    assert used > 0
    assert story.owner.tokens_of(MEMBER) == used
    story.picture(story.owner.page, "members-usage")


@OVER_HTTPS
@pytest.mark.limit(500)
def test_files_survive_stop_start_and_deletion_of_the_container(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    note = "/home/node/.openclaw/workspace/kept.txt"
    docker("exec", story.runtime, "sh", "-c", f"mkdir -p $(dirname {note}) && echo precious > {note}")
    first = docker("inspect", "-f", "{{.Id}}", story.runtime).strip()

    story.member.stop()
    story.member.expect_state("Stopped", limit_s=90)
    story.picture(story.member.page, "stopped")
    assert docker("inspect", "-f", "{{.State.Running}}", story.runtime).strip() == "false"

    story.member.start()
    story.member.expect_state("Ready", limit_s=BOOT_LIMIT_S)
    story.picture(story.member.page, "started")
    assert docker("inspect", "-f", "{{.Id}}", story.runtime).strip() == first
    assert docker("exec", story.runtime, "cat", note).strip() == "precious"

    story.member.delete_container()
    story.member.expect_state("Container deleted", limit_s=90)
    story.picture(story.member.page, "deleted")
    assert story.runtime not in docker("ps", "-a", "--format", "{{.Names}}").split()
    assert story.runtime not in docker("network", "ls", "--format", "{{.Name}}").split()

    begun = time.monotonic()
    story.member.open_workspace()
    story.member.stages_until_inside(f".ws.{story.appliance.base}", BOOT_LIMIT_S)
    story.chat.wait_until_usable(BOOT_LIMIT_S)
    story.figures["Open workspace to usable Control UI, files there, s"] = time.monotonic() - begun
    story.picture(story.member.page, "opened-again")
    assert docker("inspect", "-f", "{{.Id}}", story.runtime).strip() != first
    assert docker("exec", story.runtime, "cat", note).strip() == "precious"


@ONCE
@pytest.mark.limit(300)
def test_opening_costs_little_more_than_a_bare_docker_run(story: Story) -> None:
    """The same image, configuration and limits without ClawLoops, from `docker run` to an answer of /startupz."""
    story.reach("opened")
    seen = json.loads(docker("inspect", story.runtime))[0]
    name = f"clawloops-{story.appliance.id}-bare"
    binds = [f"{each['Source']}:{each['Destination']}:ro" for each in seen["Mounts"] if each["Type"] == "bind"]
    command = ["run", "-d", "--init", "--name", name, "--hostname", "bare", "--read-only", "--tmpfs", "/tmp"]
    command += ["--label", f"clawloops.install={story.appliance.id}", "--memory", "2g", "--cpus", "2"]
    command += [word for each in binds for word in ("-v", each)] + ["-v", "/home/node"]
    command += [word for each in seen["Config"]["Env"] for word in ("-e", each)]
    begun = time.monotonic()
    docker(*command, seen["Config"]["Image"])
    try:
        address = docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name).strip()
        while True:
            assert time.monotonic() - begun < BOOT_LIMIT_S, docker("logs", "--tail", "50", name)
            try:
                with urllib.request.urlopen(f"http://{address}:18789/startupz", timeout=2) as answer:
                    assert json.load(answer)["ok"]
                    break
            except OSError:
                time.sleep(0.1)
        bare = time.monotonic() - begun
    finally:
        docker("rm", "-fv", name)
    opened = story.figures["Open workspace to usable Control UI, first time, s"]
    story.figures["bare docker run to /startupz, s"] = bare
    story.figures["Open workspace / bare docker run"] = opened / bare
    assert opened < 4 * bare + 5
