"""The pages in a real browser: light and dark, desktop and phone, kept as screenshots, and what only it can tell."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from clawloops.clock import now_ms
from clawloops.model.account import Role, User
from clawloops.model.provider import Backend, BackendKind, Grants, Model, Place
from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Phase, Runtime, Sleep, View, Want
from clawloops.model.usage import Call, Tokens
from clawloops.model.workspace import JobState
from clawloops.orchestrator.phase import PENDING
from clawloops.runtimes.strangers import Kind, Stranger
from clawloops.store import backends, events, jobs, models, rollouts, volumes
from clawloops.store import runtimes as rows
from clawloops.web import cookies
from tests.web.box import IMAGE, Box

pytestmark = pytest.mark.browser
ARGUMENTS = [
    "--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
PASSWORD = "a correct horse"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        await browser.close()


class Desk:
    """A browser context that notes everything that a clean page must not do."""

    def __init__(self, box: Box, context: BrowserContext) -> None:
        self.box = box
        self.context = context
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        context.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        context.on(
            "request", lambda sent: self.elsewhere.append(sent.url) if "clawloops.localhost" not in sent.url else None
        )

    async def sign_in(self, user: User) -> None:
        token, _ = await self.box.signed_in(user)
        url = f"https://{self.box.site.base}/"  # DevTools takes Secure cookies for https only; ports do not matter
        await self.context.add_cookies([{"name": cookies.SESSION, "value": token, "url": url, "httpOnly": True}])


@pytest.fixture
async def desk(box: Box, browser: Browser) -> AsyncIterator[Desk]:
    context = await browser.new_context()
    desk = Desk(box, context)
    yield desk
    await context.close()
    assert (desk.complaints, desk.elsewhere) == ([], [])


async def with_models(box: Box) -> None:
    made = [
        (Backend("b1", "Ollama", BackendKind.OLLAMA, "http://ollama:11434", "", 1), ("qwen3:8b", "llama3.3:70b")),
        (Backend("b2", "anthropic", BackendKind.LITELLM, "", "anthropic", 2), ("claude-sonnet-4-5",)),
    ]
    for backend, names in made:
        await backends.add(box.db, backend)
        for name in names:
            model = Model(f"m-{name}", name, (Place(backend.id, name),), 32_768, 8192, name == "qwen3:8b", 1)
            await models.add(box.db, model)
    await box.models.load()


async def with_people(box: Box, owner: User) -> None:
    for login, name in (("grace", Role.ADMIN), ("linus", Role.MEMBER), ("mallory", Role.MEMBER)):
        user = await box.member(login, name)
        runtime = await box.workspace(user, Phase.STOPPED)
        box.journal.append(
            Call(
                user.id.ljust(32, "0"),
                now_ms(),
                user.id,
                runtime.id,
                "qwen3:8b",
                "b1",
                Tokens(len(login) * 91_234, 20_211),
                200,
                5,
                9,
            )
        )
    mallory = next(each for each in box.accounts.members() if each.login == "mallory")
    await box.accounts.disable(mallory.id, by=owner)
    await box.invitations.invite(role=Role.MEMBER, note="Ken, design team", by=owner)


def _opened(selector: str) -> str:
    return f"for (const each of document.querySelectorAll('{selector}')) each.open = true"


async def with_groups(box: Box, owner: User) -> None:
    people = {each.login: each.id for each in box.accounts.members()}
    group = await box.groups.make("Design team", {people["grace"], people["linus"]}, by=owner)
    model = box.models.get("m-llama3.3:70b")
    places = (*model.places, Place("b2", "claude-haiku-4-5"))
    await box.models.change(
        replace(model, places=places, is_open=False), Grants(frozenset({owner.id}), frozenset({group.id})), by=owner
    )
    for _ in range(6):
        box.health.failed("b2", "Name or service not known", time.monotonic(), at=now_ms())


async def with_keys(box: Box, owner: User) -> None:
    await box.keys.make(name="Claude Code on the laptop", models=[], days=90, by=owner)
    await box.keys.make(name="CI", models=["qwen3:8b", "llama3.3:70b"], days=0, by=owner)
    for use in await box.keys.of(owner, since=0):
        if use.key.name == "CI":
            counted = Tokens(1_204_331, 88_120)
            box.journal.append(Call("e" * 32, now_ms(), owner.id, "", "qwen3:8b", "b1", counted, 200, 5, 9, use.key.id))
    await box.ledger.fold()


WHY_AWAKE = "A model is answering; it sleeps after 15 minutes without use."
WHY_ASLEEP = "It was paused because nobody used it for 15 minutes."


async def _row(box: Box, runtime: Runtime) -> Runtime:
    row = await rows.get(box.db, runtime.id)
    assert row is not None
    return row


async def with_history(box: Box, runtime: Runtime) -> None:
    told: list[tuple[str, str, int | None]] = [
        ("makenetwork", "its private network was made", 412),
        ("create", "its container was made", 780),
        ("start", "its container was started", 340),
        ("ready", "OpenClaw is ready", 9120),
        ("sleep", WHY_ASLEEP, None),
        ("pause", "it was frozen", 21),
        ("wake", "It was woken: its pages were opened.", 19),
        ("failed", "OpenClaw needed more memory than its limit of 2048 MiB and was ended", None),
        ("start", "its container was started", 310),
        ("ready", "OpenClaw is ready", 8904),
    ]
    for minute, (kind, text, took_ms) in enumerate(told):
        at = now_ms() - (len(told) - minute) * 47 * 60_000
        await events.add(box.db, runtime.id, at=at, kind=kind, text=text, took_ms=took_ms)


async def with_files(box: Box, owner: User, runtime: Runtime) -> None:
    row = await volumes.used(box.db, await _row(box, runtime), image=IMAGE, now=now_ms())
    for note, size in (("Before the big clean-up", 341_000_000), ("Snapshot", 298_000_000), ("Old one", 12_000_000)):
        number = await volumes.begin(box.db, row.id, note=note, image=IMAGE, now=now_ms() - size)
        await volumes.keep_as_snapshot(box.db, row.id, number, size=size)
    await box.workspaces.put_away(row.id, number, by=owner)
    done = await box.workspaces.export(row.id, by=owner)
    await jobs.note(box.db, done.id, JobState.DONE, "one file of 88 MiB", now=now_ms())
    await box.workspaces.snapshot(row.id, "Before the upgrade", by=owner)


LOOKS = [("light", 1180), ("dark", 1180), ("light", 390), ("dark", 390)]


@pytest.mark.limit(300)
async def test_every_page_is_drawn_in_light_and_dark_on_desktop_and_phone(
    box: Box, browser: Browser, artifacts: Path
) -> None:
    link = await box.invitations.setup_link()
    assert link is not None
    olga = await box.member("olga", Role.OWNER)
    folder = artifacts / "pages"
    folder.mkdir(exist_ok=True)

    async def draw(name: str, path: str, *, signed_in: bool = True, prepare: str = "") -> None:
        for scheme, width in LOOKS:
            context = await browser.new_context(
                color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 820}
            )
            desk = Desk(box, context)
            if signed_in:
                await desk.sign_in(olga)
            page = await context.new_page()
            await page.goto(path if path.startswith("http") else box.site.origin + path)
            if prepare:
                await page.evaluate(prepare)
            await page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=True)
            overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{name} is {overflow} pixels too wide at {width}"
            allowed = [each for each in desk.complaints if "Failed to load resource" not in each]
            assert (allowed, desk.elsewhere) == ([], [])
            await context.close()

    await draw("01-sign-in", "/sign-in", signed_in=False)
    invited = await box.invitations.invite(role=Role.MEMBER, note="", by=olga)
    await draw("02-join", invited, signed_in=False)
    for each in await box.invitations.open():
        await box.invitations.withdraw(each.id, by=olga)
    await draw("03-home-first-run", "/")
    await draw("04-models-empty", "/models")
    await with_models(box)
    await draw("05-models", "/models", prepare="document.querySelectorAll('details.kind')[2].open = true")
    await with_people(box, olga)
    await with_groups(box, olga)
    await draw("05-models-name", "/models/names/m-llama3.3:70b")
    await draw("05-models-open", "/models", prepare=_opened(".panel:not(.kind) details"))
    await draw("06-members", "/members", prepare=_opened("[aria-labelledby=groups-title] details"))
    await draw("06-keys-none", "/keys")
    await with_keys(box, olga)
    await draw("06-keys", "/keys", prepare=_opened("details"))
    runtime = await box.workspace(olga, Phase.NETWORK)
    await draw("07-home-starting", "/")
    steps = ((Phase.NETWORK, 412), (Phase.CONTAINER, 780))
    box.board.put(View(runtime.id, Phase.BOOT, address="127.0.0.1", since=now_ms() - 4200, steps=steps))
    await draw("08-opening", "/workspace/opening")
    box.board.put(View(runtime.id, Phase.QUEUED, "others are starting first", since=now_ms() - 4200, place=(2, 5)))
    await draw("08-opening-queued", "/workspace/opening")
    box.show(
        runtime,
        Phase.DEGRADED,
        reason="the image clawloops/openclaw is not on this host; an administrator runs ./install.sh to get it",
    )
    await draw("09-opening-degraded", "/workspace/opening")
    box.show(runtime, Phase.READY, address="127.0.0.1")
    box.journal.append(
        Call("f" * 32, now_ms(), olga.id, runtime.id, "qwen3:8b", "b1", Tokens(1_204_331, 88_120), 200, 5, 9)
    )
    await draw("10-home", "/", prepare="document.getElementById('delete-container').open = true")
    await with_history(box, runtime)
    box.board.put(View(runtime.id, Phase.READY, "", "127.0.0.1", now_ms(), why=WHY_AWAKE, pending=PENDING))
    await draw("10-workspace", "/workspace")
    await draw("10-history", "/workspace/history")
    await with_files(box, olga, runtime)
    await draw("10-files", "/workspace/files", prepare="document.querySelector('details.sure').open = true")
    await rows.put(box.db, replace(await _row(box, runtime), sleep=Sleep.PAUSED, sleep_why=WHY_ASLEEP))
    box.board.put(View(runtime.id, Phase.PAUSED, "", "127.0.0.1", now_ms(), why=WHY_ASLEEP))
    await draw("10-home-asleep", "/")
    others = [each for each in await box.runtimes.all(by=olga) if each.owner != olga.id]
    box.gate.ask("one that starts", memory_mb=2048)
    for number, other in enumerate(others[:2], start=1):
        await box.runtimes.wish(other.id, Want.RUNNING, by=olga)
        box.gate.ask(other.id, memory_mb=2048)
        box.board.put(View(other.id, Phase.QUEUED, "others are starting first", since=now_ms(), place=(number, 2)))
    box.strangers = [
        Stranger(Kind.VOLUME, "clawloops-0a1b2c3d-ws-r0123456789abcdef-4", "", "the database knows of none like it")
    ]
    await rows.put(box.db, replace(await _row(box, others[0]), image="clawloops/openclaw:1", volume_at=1))
    note = "the workspace of Grace did not answer on it, and is back on the one before"
    await rollouts.begin(box.db, Rollout(IMAGE, others[0].id, RolloutState.HALTED, note, 1, 2))
    await draw("10-box", "/box")
    await draw("10-box-workspace", f"/box/workspaces/{others[0].id}")
    await box.runtimes.wish(runtime.id, Want.RUNNING, by=olga)
    await draw("11-not-found", "/nowhere")
    await draw("12-link-used", "/join/nothing", signed_in=False)
    box.show(runtime, Phase.BOOT, address="127.0.0.1")
    await draw("13-waking", box.site.workspace_origin(runtime.slug) + "/")


async def test_a_person_joins_and_opens_a_workspace(box: Box, desk: Desk) -> None:
    link = await box.invitations.setup_link()
    assert link is not None
    page = await desk.context.new_page()
    await page.goto(link)
    await page.get_by_label("Your name").fill("Olga")
    await page.get_by_label("Login").fill("olga")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Become the owner").click()
    await expect(page.get_by_role("heading", name="Get started")).to_be_visible()
    await page.get_by_role("button", name="Open workspace").click()
    await expect(page.get_by_role("heading", name="Opening your workspace")).to_be_visible()
    olga = box.accounts.members()[0]
    runtime = await box.runtimes.of_owner(olga.id)
    assert runtime is not None
    for phase in (Phase.NETWORK, Phase.CONTAINER, Phase.BOOT):
        box.show(runtime, phase, address="127.0.0.1")
        await expect(page.locator(f'#stages[data-phase="{phase}"]')).to_be_visible(timeout=2000)
    await expect(page.locator(".now .took")).not_to_have_text("0.0 s")
    box.show(runtime, Phase.READY, address="127.0.0.1")
    origin = box.site.workspace_origin(runtime.slug)
    # No Traefik here: the catch-all says that the route is on its way, on the workspace's own host, signed in.
    await expect(page.get_by_role("heading", name="Almost there")).to_be_visible(timeout=5000)
    assert page.url == f"{origin}/"
    names = {each["name"] for each in await desk.context.cookies(origin)}
    assert cookies.WORKSPACE in names and cookies.SESSION not in names
    desk.complaints.clear()  # the 503 of that page


@pytest.mark.attacks
async def test_a_workspaces_script_cannot_toss_a_cookie_at_the_dashboard(box: Box, desk: Desk) -> None:
    olga = await box.member("olga", Role.OWNER)
    runtime = await box.workspace(olga, Phase.BOOT)
    await desk.sign_in(olga)
    page = await desk.context.new_page()
    await page.goto(box.site.workspace_origin(runtime.slug) + "/")
    await expect(page.get_by_role("heading", name="waking up")).to_be_visible()
    for name in (cookies.SESSION, "__host-cl_session", "cl_session"):
        await page.evaluate(f"document.cookie = '{name}=x; domain={box.site.base}; path=/; secure'")
        await page.evaluate(f"document.cookie = '={name}=x; domain={box.site.base}; path=/; secure'")
    answer = await page.goto(box.site.origin + "/")
    assert answer is not None and answer.status == 200
    await expect(page.get_by_role("heading", name="Hello, Olga")).to_be_visible()


async def test_a_page_left_open_shows_the_change_and_notices_the_sign_out(box: Box, desk: Desk) -> None:
    mia = await box.member("mia")
    runtime: Runtime = await box.workspace(mia, Phase.BOOT)
    await desk.sign_in(mia)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/")
    await expect(page.locator("#workspace-state")).to_have_text("Starting")
    box.show(runtime, Phase.READY, address="127.0.0.1")
    await expect(page.locator("#workspace-state")).to_have_text("Ready", timeout=1000)
    await box.sessions.revoke_user(mia.id)
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=3000)


@pytest.mark.faults
async def test_a_page_left_open_over_a_restart_recovers_by_itself(box: Box, desk: Desk) -> None:
    mia = await box.member("mia")
    runtime = await box.workspace(mia, Phase.BOOT)
    await desk.sign_in(mia)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/")
    await expect(page.locator("#workspace-state")).to_have_text("Starting")
    began = time.monotonic()
    await box.close_dashboard()
    assert time.monotonic() - began < 1.5, "open streams must not hold up a restart"
    await asyncio.sleep(1)
    box.show(runtime, Phase.READY, address="127.0.0.1")
    await box.open_dashboard()
    await expect(page.locator("#workspace-state")).to_have_text("Ready", timeout=8000)
    desk.complaints.clear()  # the refused connections in between
