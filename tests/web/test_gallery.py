"""Every page in a real browser: light and dark, desktop and phone, kept as screenshots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser

from clawloops.clock import now_ms
from clawloops.model.account import Role, SessionKind
from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Phase, Sleep, View, Want
from clawloops.model.usage import Call, Tokens
from clawloops.orchestrator.phase import PENDING
from clawloops.runtimes.strangers import Kind, Stranger
from clawloops.store import rollouts
from clawloops.store import runtimes as rows
from tests.web import scenes
from tests.web.box import IMAGE, Box, free_port, serve
from tests.web.desk import Desk, browser

__all__ = ["browser"]

pytestmark = pytest.mark.browser


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
    shop = await serve(scenes.Shop().app(), free_port())
    await scenes.with_models(box, f"http://127.0.0.1:{shop.addresses[0][1]}")
    await draw("05-models", "/models", prepare="document.querySelectorAll('details.kind')[2].open = true")
    await scenes.with_people(box, olga)
    await scenes.with_groups(box, olga)
    await draw("05-models-name", "/models/names/m-llama3.3:70b")
    await draw("05-models-open", "/models", prepare=scenes.opened(".panel:not(.kind) details"))
    await draw("06-members", "/members", prepare=scenes.opened("[aria-labelledby=groups-title] details"))
    await scenes.with_budgets(box, olga)
    await draw("06-budgets", "/budgets", prepare=scenes.opened("details"))
    await scenes.with_library(box, olga)
    await draw("06-library", "/models/library/b1", prepare=scenes.opened("details"))
    await draw("06-keys-none", "/keys")
    await scenes.with_keys(box, olga)
    await draw("06-keys", "/keys", prepare=scenes.opened("details"))
    await box.sessions.revoke_user(olga.id)
    for named, address in (("Firefox on Linux", "192.0.2.7"), ("Safari on iPhone", "2001:db8::17")):
        await box.sessions.issue(olga.id, SessionKind.DASHBOARD, browser=named, address=address)
    await draw("06-account", "/account")
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
    box.burn.circles.hold(runtime.id, "the same call came 10 times within 10 minutes")
    await draw("10-home", "/", prepare="document.getElementById('delete-container').open = true")
    await scenes.with_history(box, runtime)
    box.board.put(View(runtime.id, Phase.READY, "", "127.0.0.1", now_ms(), why=scenes.WHY_AWAKE, pending=PENDING))
    await draw("10-workspace", "/workspace")
    await draw("10-history", "/workspace/history")
    await scenes.with_files(box, olga, runtime)
    await draw("10-files", "/workspace/files", prepare="document.querySelector('details.sure').open = true")
    await rows.put(box.db, replace(await scenes.row_of(box, runtime), sleep=Sleep.PAUSED, sleep_why=scenes.WHY_ASLEEP))
    box.board.put(View(runtime.id, Phase.PAUSED, "", "127.0.0.1", now_ms(), why=scenes.WHY_ASLEEP))
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
    await rows.put(box.db, replace(await scenes.row_of(box, others[0]), image="clawloops/openclaw:1", volume_at=1))
    note = "the workspace of Grace did not answer on it, and is back on the one before"
    await rollouts.begin(box.db, Rollout(IMAGE, others[0].id, RolloutState.HALTED, note, 1, 2))
    await draw("10-box", "/box")
    await draw("10-box-workspace", f"/box/workspaces/{others[0].id}")
    await box.runtimes.wish(runtime.id, Want.RUNNING, by=olga)
    await draw("11-not-found", "/nowhere")
    await draw("12-link-used", "/join/nothing", signed_in=False)
    box.show(runtime, Phase.BOOT, address="127.0.0.1")
    await draw("13-waking", box.site.workspace_origin(runtime.slug) + "/")
