"""The dashboard of the real appliance: every page read by axe, one state for everybody who watches, and a restart."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from clawloops.web.routes import DASHBOARD
from tests import axe
from tests.e2e.appliance import docker
from tests.e2e.browser import PATIENCE_MS
from tests.e2e.dashboard import Dashboard
from tests.e2e.story import BOOT_LIMIT_S, MEMBER, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(500),
    pytest.mark.parametrize("story", ["https"], indirect=True),
]

LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]
_SHOWS = ("show", "history")  # what a handler is called that answers with a whole page
_ELSEWHERE = ("/workspace/opening", "/box/workspaces/{id}/log")  # leads into the workspace; is its member's alone
_THEIRS = {"member": ("MEMBER", "PERSON"), "owner": ("ADMIN", "OVERSEER")}  # names of `For`
_WATCH = """() => {
  const state = () => document.querySelector("#workspace-state")?.innerText ?? "";
  window.seen = [[state(), Date.now()]];
  new MutationObserver(() => {
    if (state() !== window.seen.at(-1)[0]) window.seen.push([state(), Date.now()]);
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def paths(story: Story, whose: str) -> list[str]:
    """Every page for somebody, the table of routes being the list; of those that show one thing, the one there is."""
    story.owner.visit("/models")
    things = {
        "/members/{id}": f"/members/{story.member_id}",
        "/members/groups/{id}": "/members/groups/new",
        "/first-run/{step}": "/first-run/model",
        "/models/names/{id}": story.owner.page.locator("ul.names a").first.get_attribute("href"),
        "/models/library/{id}": story.owner.page.locator("a[href^='/models/library/']").first.get_attribute("href"),
        "/box/workspaces/{id}": f"/box/workspaces/{story.runtime_id}",
        "/box/workspaces/{id}/history": f"/box/workspaces/{story.runtime_id}/history",
        "/box/workspaces/{id}/internet": f"/box/workspaces/{story.runtime_id}/internet",
    }
    shown = [
        route.path
        for route in DASHBOARD
        if route.method == "GET" and route.access.name in _THEIRS[whose] and route.page.__name__.startswith(_SHOWS)
    ]
    return [str(things[path] if "{" in path else path) for path in shown if path not in _ELSEWHERE]


def _read(story: Story, who: Dashboard, paths: list[str], name: str) -> list[str]:
    """Look at pages as somebody, each in both colours and both widths. Returns what is wrong, in words."""
    return [wrong for look in LOOKS for wrong in _look(story, who, paths, f"page-{name}", look)]


def _look(story: Story, who: Dashboard, paths: list[str], name: str, look: tuple[str, int]) -> list[str]:
    wrong: list[str] = []
    scheme, width = look
    context = story.browser.new_context(
        storage_state=who.page.context.storage_state(),
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 860},
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("request", lambda sent: None if _is_ours(story, sent.url) else wrong.append(f"it asks {sent.url}"))
    for path in paths:
        answer = page.goto(story.appliance.origin + path)
        assert answer is not None and answer.status == 200, path
        wrong += [f"{path}, {scheme}, {width}: {each}" for each in axe.look_in_turn(page)]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append(f"{path} is wider than {width} pixels")
        story.picture(page, f"{name}{path.replace('/', '-')}-{scheme}-{width}")
    context.close()
    return wrong


def _is_ours(story: Story, url: str) -> bool:
    return url.startswith((story.appliance.origin + "/", "data:"))


def test_every_page_is_read_by_axe_in_both_colours_on_desktop_and_phone(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    mine, theirs = paths(story, "member"), paths(story, "owner")
    assert {"/", "/workspace", "/keys", "/usage"} <= set(mine) and {"/models", "/members", "/box"} <= set(theirs)
    assert _read(story, story.member, mine, "member") == []
    assert _read(story, story.owner, ["/", *theirs], "owner") == []


def test_all_who_watch_a_workspace_see_the_same_state_within_a_second(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    story.second.visit("/workspace")
    story.owner.visit(f"/box/workspaces/{story.runtime_id}")
    watching: list[Page] = [story.member.page, story.second.page, story.owner.page]
    for each in watching:
        expect(each.locator("#workspace-state")).to_have_text("Ready")
        each.evaluate(_WATCH)
    docker("exec", story.appliance.service("clawloops"), "clawloops", "runtime", "stop", MEMBER.login)
    for each in watching:
        expect(each.locator("#workspace-state")).to_have_text("Stopped", timeout=60_000)
    docker("exec", story.appliance.service("clawloops"), "clawloops", "runtime", "start", MEMBER.login)
    for each in watching:
        expect(each.locator("#workspace-state")).to_have_text("Ready", timeout=BOOT_LIMIT_S * 1000)
    seen: list[list[tuple[str, int]]] = [each.evaluate("() => window.seen") for each in watching]
    for state in ("Stopped", "Ready"):
        instants = [max(at for name, at in each if name == state) for each in seen]
        story.figures[f"{state}: from the first to the last of three browsers, s"] = late = (
            max(instants) - min(instants)
        ) / 1000
        assert late <= 1.0, seen


def test_a_page_left_open_over_a_restart_of_the_control_plane_goes_on_by_itself(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    story.member.start_and_wait(BOOT_LIMIT_S)
    story.member.page.evaluate("() => { window.untouched = true; }")
    began = time.monotonic()
    docker("restart", story.appliance.service("clawloops"))
    docker("exec", story.appliance.service("clawloops"), "clawloops", "runtime", "stop", MEMBER.login)
    story.member.expect_state("Stopped", limit_s=60)
    story.figures["a page that saw a restart and what came then, s"] = time.monotonic() - began
    assert story.member.page.evaluate("() => window.untouched"), "nobody has loaded it again"
    docker("exec", story.appliance.service("clawloops"), "clawloops", "runtime", "start", MEMBER.login)
    story.member.expect_state("Ready", limit_s=BOOT_LIMIT_S)
