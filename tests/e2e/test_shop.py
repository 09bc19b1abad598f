"""What an admin does with models on the appliance: a file is brought, a budget is set, a shell is used."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e import tiny_model
from tests.e2e.appliance import docker
from tests.e2e.browser import CHROMIUM
from tests.e2e.story import CLOUD_MODEL, MEMBER, Story
from tests.e2e.test_own_tools import call

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="this machine has no package named chromium"),
    # Once is enough: nothing below depends on the way a browser came here.
    pytest.mark.parametrize("story", [pytest.param("http", id="http")], indirect=True),
]


LIMITED_LIMIT_S = 420.0  # OpenClaw tries again by itself before it says so: measured, 134 s
BACK_LIMIT_S = 420.0  # until it asks a provider again that limited it


def _row(story: Story, name: str) -> Locator:
    return story.owner.page.locator("#library .cards li").filter(has_text=name)


def _more(row: Locator) -> Locator:
    """What is folded beside a model, opened."""
    more = row.locator("details.sure")
    if more.get_attribute("open") is None:
        more.locator("summary").click()
    return more


@pytest.mark.limit(1000)
def test_a_model_file_is_brought_loaded_offered_and_removed(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    if not story.has_ollama:
        pytest.skip("install.sh left Ollama out here")
    page = story.owner.page
    story.owner.visit("/models")
    page.get_by_role("link", name="Library").click()
    expect(_row(story, "tiny:latest")).to_contain_text("Members see it as tiny:latest")
    page.get_by_text("Import a GGUF file…").click()
    page.get_by_label("Name").fill("brought")
    page.get_by_label("File").set_input_files(tiny_model.make(story.folder) / "tiny.gguf")
    page.get_by_role("button", name="Import").click()
    expect(_row(story, "brought:latest")).to_contain_text("It fits", timeout=60_000)
    assert list((story.appliance.data / "control" / "imports").glob("*")) == []
    more = _more(_row(story, "brought:latest"))
    more.get_by_label("Context").fill("4096")
    more.get_by_role("button", name="Save").click()
    expect(_row(story, "brought:latest")).to_contain_text("context 4,096 of 32,768 tokens")
    page.get_by_role("button", name="Load brought:latest", exact=True).click()
    expect(_row(story, "brought:latest")).to_contain_text("loaded", timeout=30_000)
    story.picture(page, "library")
    page.get_by_role("button", name="Unload brought:latest").click()
    expect(page.get_by_role("button", name="Load brought:latest", exact=True)).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Offer to members brought:latest").click()
    expect(_row(story, "brought:latest")).to_contain_text("Members see it as brought")
    listed = docker("exec", story.appliance.service("clawloops"), "clawloops", "model", "list", "--json")
    assert {each["name"]: each["context_window"] for each in json.loads(listed)}["brought"] == 4096
    said = docker("exec", story.appliance.service("clawloops"), "clawloops", "model", "remove", "brought")
    assert "what it led to stays" in said
    expect(page.get_by_role("button", name="Offer to members brought:latest")).to_be_visible(timeout=10_000)
    _more(_row(story, "brought:latest")).get_by_role("button", name="Remove").click()
    expect(_row(story, "brought:latest")).to_have_count(0)


@contextmanager
def _used_up(story: Story) -> Iterator[None]:
    """With a budget for the member that they have used up already."""
    page = story.owner.page
    story.owner.visit("/budgets")
    page.get_by_label("For").select_option(label=MEMBER.name)
    page.get_by_label("At most").fill("1")
    page.get_by_label("of", exact=True).select_option(label="calls")
    page.get_by_label("in a", exact=True).select_option(label="month")
    page.get_by_role("button", name="Set the budget").click()
    card = page.locator(".cards li").filter(has_text=MEMBER.name)
    expect(card).to_contain_text("used up")
    story.picture(page, "budget")
    try:
        yield
    finally:  # or it would fail every later test, too
        card.locator("summary").click()
        card.get_by_role("button", name="Remove it").click()
        expect(card).to_have_count(0)


@pytest.mark.limit(1000)
def test_a_budget_that_is_used_up_is_said_on_the_first_page_and_refuses_the_next_call(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    key = story.second.make_key("a tool within a budget")
    with _used_up(story):
        status, told = call(story, "/v1/chat/completions", key, CLOUD_MODEL)
        assert status == 429 and "budget" in json.dumps(told)
        story.second.visit("/")
        expect(story.second.page.locator("#usage-title").locator("xpath=ancestor::section")).to_contain_text("used up")
        story.picture(story.second.page, "budget-on-the-first-page")
    assert call(story, "/v1/chat/completions", key, CLOUD_MODEL)[0] == 200


@pytest.mark.long
@pytest.mark.limit(1200)
def test_a_budget_that_is_used_up_is_said_in_the_chat(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    with _used_up(story):
        story.chat.send("Is there anything left for me?")
        # OpenClaw keeps a provider's words to itself, and names the kind of the refusal.
        said = re.compile("rate limited", re.IGNORECASE)
        expect(story.chat.log.get_by_text(said).last).to_be_visible(timeout=LIMITED_LIMIT_S * 1000)
        story.picture(story.chat.page, "budget-in-the-chat")
    # OpenClaw leaves a provider alone for a while that limited it, and says so, in a bubble or beside the conversation.
    until = time.monotonic() + BACK_LIMIT_S
    while True:
        text = f"And now? ({until - time.monotonic():.0f} s are left.)"
        try:
            story.chat.send(text)
            expect(story.chat.answer_to(text)).to_contain_text("cloud39", timeout=30_000)
            break
        except AssertionError:
            if time.monotonic() > until:
                raise


def test_a_price_of_ones_own_is_set_where_a_name_leads(story: Story) -> None:
    story.reach("provider")
    story.owner.visit("/models")
    story.owner.page.get_by_role("link", name=f"Change {CLOUD_MODEL}").click()
    expect(story.owner.page.get_by_role("heading", name="Prices")).to_be_visible()
    prices = story.owner.page.locator("[aria-labelledby=prices-title]")
    expect(prices).to_contain_text("free")
    prices.get_by_label("Input", exact=False).first.fill("3")
    prices.get_by_label("Output").fill("15")
    prices.get_by_role("button", name="Save the price").click()
    expect(prices).to_contain_text("your price")
    story.picture(story.owner.page, "price")
