"""The way to the internet of the installed appliance: for tools and for the agent itself, once a person allows it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.appliance import docker
from tests.e2e.internet import ADDRESS, PAGE, SAID, Internet, internet
from tests.e2e.story import BOOT_LIMIT_S, CHAT_LIMIT_S, CLOUD_MODEL, CLOUD_WORDS, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(400),
    pytest.mark.parametrize("story", ["http"], indirect=True),
]


@pytest.fixture
def net(story: Story) -> Iterator[Internet]:
    with internet(story.folder) as made:
        yield made


@pytest.fixture
def awake(story: Story) -> Story:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    return story


def _curl(story: Story, url: str, *more: str) -> tuple[int, str]:
    """The exit code and all that curl says, run in the runtime as its agent would."""
    command = ["docker", "exec", story.runtime, "curl", "-sS", "-m", "70", *more, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    return done.returncode, done.stdout + done.stderr


def _set_reach(story: Story, name: str) -> None:
    page = story.owner.page
    story.owner.visit(f"/box/workspaces/{story.runtime_id}/internet")
    page.get_by_role("radio", name=name).check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("radio", name=name)).to_be_checked()


@pytest.mark.attacks(1)
def test_a_tool_waits_until_its_member_allows_the_host_and_the_receipt_stays(awake: Story, net: Internet) -> None:
    story, page, place = awake, awake.second.page, net.place
    story.second.visit("/workspace/internet")
    command = ["docker", "exec", story.runtime, "curl", "-sS", "-m", "70", f"http://{place}/first"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        question = page.get_by_role("listitem").filter(has_text=place)
        begun = time.monotonic()
        expect(question.get_by_text("waits")).to_be_visible(timeout=10_000)
        story.figures["a connection waits to its question on an open page, s"] = time.monotonic() - begun
        story.picture(page, "may-it-connect-there")
        assert net.asked == []
        question.get_by_role("button", name=f"Allow {place}", exact=True).click()
        assert waiting.communicate(timeout=30)[0] == PAGE
    assert _curl(story, f"http://{place}/second") == (0, PAGE)
    assert net.asked == ["/first", "/second"]
    story.second.visit("/workspace/internet")
    expect(page.locator("li.receipt").filter(has_text=place)).to_contain_text("2 connections")
    story.picture(page, "with-whom-it-was-connected")
    page.get_by_role("button", name=f"Remove {place}").click()
    expect(page.get_by_role("button", name=f"Remove {place}")).to_have_count(0)
    code, said = _curl(story, f"http://{place}/third", "-m", "3")
    assert (code, net.asked) == (28, ["/first", "/second"]), said


@pytest.mark.attacks(1)
def test_with_everything_public_open_the_box_and_its_networks_stay_closed(awake: Story, net: Internet) -> None:
    story = awake
    _set_reach(story, "Anything public Except")
    inspected = json.loads(docker("inspect", story.appliance.service("edge")))[0]["NetworkSettings"]["Networks"]
    bridges = sorted({each["Gateway"] for each in inspected.values() if each["Gateway"]})
    edges = sorted(each["IPAddress"] for each in inspected.values())
    wanted = [
        *(f"http://{each}:{port}/" for each in (*bridges, *edges) for port in (80, 8080, 4000)),
        *("http://litellm:4000/health", "http://localhost:8081/", "http://127.0.0.1:8082/", "http://[::1]:8083/"),
        *("http://169.254.169.254/latest/meta-data/", "http://host.docker.internal:22/", "http://0.0.0.0:8081/"),
        *("http://[::ffff:127.0.0.1]:8082/", "http://169.254.169.254:25/"),
    ]
    assert _curl(story, f"http://{net.place}/") == (0, PAGE), "the control: what is public is reached"
    for url in wanted:
        code, said = _curl(story, url, "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "")
        assert (code, said) == (0, "403"), url
    code, said = _curl(story, f"https://{ADDRESS}:25/")
    assert code == 56 and "403" in said
    assert net.asked == ["/"]
    # Nobody but a workspace is answered: not this host, which reaches the edge on the network in front.
    front = next(each["IPAddress"] for name, each in inspected.items() if name.endswith("_front"))
    asked = ["curl", "-sS", "-m", "5", "-x", f"http://{front}:3128", f"http://{net.place}/"]
    done = subprocess.run(asked, capture_output=True, timeout=10, check=False)
    assert done.returncode != 0 and not done.stdout and net.asked == ["/"]


def test_the_agent_itself_reads_a_page_once_its_member_allows_it(awake: Story, net: Internet) -> None:
    """OpenClaw's own tool for it, through the proxy; the model only says that it is to be used."""
    story, page = awake, awake.second.page
    _set_reach(story, "As for everybody")
    words = [f"cloud{number} " for number in range(CLOUD_WORDS)]
    wanted = {"id": "web_fetch", "args": {"url": f"http://{net.place}/lakes"}}
    call = {"name": "tool_call", "arguments": wanted}  # OpenClaw offers most of its tools by way of this one
    story.upstream.script(CLOUD_MODEL, key=story.provider_key, words=["It", " is", " read."], call=call)
    try:
        story.member.visit(story.workspace)
        story.chat.wait_until_back(BOOT_LIMIT_S)
        story.second.visit("/workspace/internet")
        story.chat.send("How deep is the lake?")
        question = page.get_by_role("listitem").filter(has_text=net.place)
        allow = question.get_by_role("button", name=f"Allow {net.place}", exact=True)
        allow.click(timeout=CHAT_LIMIT_S * 1000)
        expect(story.chat.log).to_contain_text("It is read.", timeout=CHAT_LIMIT_S * 1000)
    finally:
        story.upstream.script(CLOUD_MODEL, key=story.provider_key, words=words, gap_s=0.05)
    told = json.dumps(story.upstream.requests()[-1]["body"]["messages"][-3:])
    assert net.asked == ["/lakes"], told
    assert SAID in told, "the page is what the model was told"
