"""Every page in a real browser: light and dark, desktop and phone, read by axe and kept as screenshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser

from clawloops.bench.peers import free_port
from clawloops.certificates.authority import new_authority
from clawloops.clock import now_ms
from clawloops.model.account import Role, SessionKind
from clawloops.model.certificate import Tls
from clawloops.model.factor import Requirement
from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Phase, Sleep, View, Want
from clawloops.model.usage import Call, Tokens
from clawloops.orchestrator.phase import PENDING
from clawloops.orchestrator.walls import Finding, Verdict
from clawloops.runtimes.strangers import Kind, Stranger
from clawloops.store import rollouts
from clawloops.store import runtimes as rows
from tests.web import scenes, upkept
from tests.web.box import BASE, IMAGE, Box, serve
from tests.web.desk import browser
from tests.web.drawing import drawing, without_first_steps
from tests.web.shop import Shop, with_library
from tests.web.shown import showing
from tests.web.test_account import joined

__all__ = ["browser"]

pytestmark = pytest.mark.browser


@pytest.mark.limit(1800)
async def test_every_page_is_drawn_in_light_and_dark_on_desktop_and_phone(
    box: Box, browser: Browser, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await box.invitations.setup_link()
    assert link is not None
    olga = await joined(box, "olga", Role.OWNER)
    folder = artifacts / "pages"
    folder.mkdir(exist_ok=True)

    draw = drawing(box, browser, olga, folder)
    await draw("01-sign-in", "/sign-in", signed_in=False)
    await draw("01-trust", "/trust", signed_in=False, prepare=scenes.opened("details"))
    invited = await box.invitations.invite(role=Role.MEMBER, note="", by=olga)
    await draw("02-join", invited, signed_in=False)
    for each in await box.invitations.open():
        await box.invitations.withdraw(each.id, by=olga)
    await draw("03-home-first-run", "/")
    await without_first_steps(box, olga)
    await draw("04-models-empty", "/models")
    shop = await serve(Shop().app(), free_port())
    await scenes.with_models(box, f"http://127.0.0.1:{shop.addresses[0][1]}")
    await draw("05-models", "/models", prepare="document.querySelectorAll('details.kind')[2].open = true")
    await scenes.with_people(box, olga)
    await scenes.with_groups(box, olga)
    await draw("05-models-name", "/models/names/m-llama3.3:70b")
    await draw("05-models-open", "/models", prepare=scenes.opened(".panel:not(.kind) details"))
    await draw("06-members", "/members")
    await draw("06-group", f"/members/groups/{(await box.groups.all())[0].id}")
    await draw("06-issuer-none", "/members/sign-in")
    await scenes.with_issuer(box, olga)
    await draw("06-issuer", "/members/sign-in", prepare=scenes.opened("details"))
    await draw("06-issuer-sign-in", "/sign-in", signed_in=False)
    await draw("06-issuer-join", await box.invitations.invite(role=Role.MEMBER, note="", by=olga), signed_in=False)
    await draw("06-issuer-account", "/account", prepare=scenes.opened("[aria-labelledby=identity-title] details"))
    await draw("06-issuer-refused", "/sign-in/return?state=x", signed_in=False)
    with monkeypatch.context() as later:
        later.setattr(box.sessions, "is_proved", lambda session: False)
        await draw("06-issuer-confirm", "/account", go=scenes.sending("/account/identity/remove"))
    await box.issuers.remove(by=olga)
    await scenes.with_budgets(box, olga)
    await draw("06-budgets", "/budgets", prepare=scenes.opened("details"))
    await with_library(box, olga)
    await draw("06-library", "/models/library/b1", prepare=scenes.opened("details"))
    await draw("06-audit", "/audit")
    await draw("06-audit-verified", "/audit", go=scenes.sending("/audit/verify"))
    await draw("06-usage-none", "/usage")
    await scenes.with_usage(box)
    await scenes.with_queue(box)
    await draw("06-usage", "/usage", prepare=scenes.opened("details"))
    await draw("06-keys-none", "/keys")
    await scenes.with_keys(box, olga)
    await draw("06-keys", "/keys", prepare=scenes.opened("details"))
    await draw("06-tokens-none", "/account/tokens")
    await scenes.with_tokens(box, olga)
    await draw("06-tokens", "/account/tokens", prepare=scenes.opened("details"))
    await box.sessions.revoke_user(olga.id)
    for named, address in (("Firefox on Linux", "192.0.2.7"), ("Safari on iPhone", "2001:db8::17")):
        await box.sessions.issue(olga.id, SessionKind.DASHBOARD, browser=named, address=address)
    await draw("06-account", "/account")
    await scenes.with_factors(box, olga)
    await draw("06-account-factors", "/account", prepare=scenes.opened("details"))
    await draw("06-account-app", "/account", go=scenes.sending("/account/app"))
    await draw("06-account-passkey", "/account", go=scenes.sending("/account/passkeys/new"))
    await draw("06-account-codes", "/account", go=scenes.sending("/account/codes"))
    await box.factors.require(Requirement.ADMINS, by=olga)
    await draw("06-members-factors", "/members")
    grace = next(each for each in box.accounts.members() if each.role is Role.ADMIN)
    await draw("06-member", f"/members/{grace.id}", prepare=scenes.opened("details"))
    await box.factors.require(Requirement.OFF, by=olga)
    with monkeypatch.context() as later:
        later.setattr(box.sessions, "is_proved", lambda session: False)
        await draw("06-confirm", "/account", go=scenes.sending("/account/codes"))
    await draw("06-second-step", "/sign-in", signed_in=False, go=scenes.halfway("olga"))
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
    await draw("10-log-none", "/workspace/log")
    scenes.with_log(box, runtime)
    await draw("10-log", "/workspace/log")
    await draw("10-log-found", "/workspace/log?words=model")
    await scenes.with_egress(box, olga)
    await draw("10-internet", "/workspace/internet", prepare=scenes.opened("details"))
    await draw("10-internet-everybody", "/box/internet")
    await scenes.with_connections(box, olga)
    await draw("10-connections", "/workspace/connections", prepare=scenes.opened("details"))
    refused = scenes.filling(
        "[action='/workspace/connections']", {"name": "My docs", "target": "https://mcp.example.com"}
    )
    await draw("10-connections-refused", "/workspace/connections", go=refused)
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
        Stranger(
            Kind.VOLUME,
            "clawloops-0a1b2c3d-ws-r0123456789abcdef-4",
            "",
            "it looks like a volume of workspace r0123456789abcdef, but the database knows of none with that number",
        )
    ]
    await rows.put(box.db, replace(await scenes.row_of(box, others[0]), image="clawloops/openclaw:1", volume_at=1))
    why = "OpenClaw was not ready after 120 seconds; it went back to clawloops/openclaw:1"
    note = f"the canary {others[0].slug} went back: {why}"
    await rollouts.begin(box.db, Rollout(IMAGE, others[0].id, RolloutState.HALTED, note, 1, 2))
    await draw("10-box-begun", "/box")
    upkept.at_work(box.gauges, [runtime.id, *(each.id for each in others)])
    await upkept.in_trouble(box, olga)
    await upkept.backed_up(box, olga)
    await draw("10-box", "/box", prepare=scenes.opened("#well"))
    why = "from a workspace's network there is a way to this host (172.17.0.1 port 22), the internet (1.1.1.1 port 53)"
    box.walls.tested(Finding(Verdict.OPEN, why, now_ms()))
    await draw("10-box-open", "/box")
    box.walls.tested(Finding(Verdict.CLOSED, "", now_ms()))
    box.walls.tested(Finding(Verdict.CLOSED, "", now_ms()))
    await scenes.with_used_decoys(box, runtime, others[0])
    await draw("10-box-decoys", "/box")
    await draw("10-workspace-decoy", "/workspace")
    for used in box.decoys.alarms():
        await box.decoys.acknowledge(used.runtime_id, seen=used.last_at, by=olga)
    pair = new_authority(BASE, now=datetime.now(UTC)).sign(BASE, now=datetime.now(UTC) - timedelta(days=80))
    (tmp_path / "problem").write_text(
        "the certificate ends on 2027-02-26, and nobody has put a newer one into certificate.pem"
    )
    async with showing(box, tmp_path, Tls.FILES, pair):
        await draw("10-box-certificate", "/box")
    await scenes.with_inspections(box, olga, runtime, others[0])
    await draw("10-box-workspace", f"/box/workspaces/{others[0].id}", prepare=scenes.opened("#inspect"))
    await draw("10-workspace-inspected", "/workspace")
    await draw("10-keys-inspected", "/keys")
    await box.runtimes.wish(runtime.id, Want.RUNNING, by=olga)
    await draw("11-not-found", "/nowhere")
    await draw("12-link-used", "/join/nothing", signed_in=False)
    box.show(runtime, Phase.BOOT, address="127.0.0.1")
    await draw("13-waking", box.site.workspace_origin(runtime.slug) + "/")
