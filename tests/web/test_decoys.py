"""Decoy keys on the dashboard: where a use is noticed, who is told, and how an admin ends it."""

from __future__ import annotations

import re

import pytest

from clawloops.control.decoys import Decoys
from clawloops.model.account import Role
from clawloops.model.decoy import Consequence, Decoy, Place
from clawloops.model.runtime import Phase, Runtime
from clawloops.orchestrator.phase import Facts, derive
from clawloops.orchestrator.plan import Aim, World
from clawloops.store import runtimes as rows
from tests.web.box import Box
from tests.web.test_account import FIREFOX, joined, sign_in

THIEF = "192.0.2.7"  # where `sign_in` comes from


@pytest.fixture
async def runtime(box: Box) -> Runtime:
    return await box.workspace(await joined(box, "mia"))


def _decoy(box: Box, runtime: Runtime) -> str:
    return box.decoy_keys.make(Decoy(runtime.id, 1, runtime.decoy))


def _places(decoys: Decoys, runtime: Runtime) -> list[tuple[Place, str, int]]:
    alarm = decoys.alarm_of(runtime.id)
    return [(use.place, use.origin, use.count) for _, use in alarm.where] if alarm else []


@pytest.mark.attacks
async def test_whoever_signs_in_with_it_is_refused_like_anybody_and_noticed(box: Box, runtime: Runtime) -> None:
    decoy = _decoy(box, runtime)
    assert await sign_in(box, "mia", FIREFOX, password="not-this") == (401, "")
    assert _places(box.decoys, runtime) == []
    for _ in range(40):  # more than are looked at
        assert (await sign_in(box, "admin", FIREFOX, password=decoy))[1] == ""
    assert _places(box.decoys, runtime) == [(Place.SIGN_IN, THIEF, 40)]
    assert box.walls.held == {runtime.id}


@pytest.mark.attacks
async def test_as_a_bearer_key_it_is_noticed_at_the_dashboard_and_at_webhooks(box: Box, runtime: Runtime) -> None:
    mia = box.accounts.get(runtime.owner)
    token = await box.hooks.enable(runtime.id, mia)
    header = {"Authorization": f"Bearer {_decoy(box, runtime)}", "X-Forwarded-For": f"10.0.0.1, {THIEF}"}
    host = box.site.workspace_host(runtime.slug)
    plain = {"X-Forwarded-For": THIEF}
    for wrong in (f"Bearer {token}", "Bearer clk_" + "A" * 43):
        await box.ask("GET", "/", headers={**plain, "Authorization": wrong})
        await box.ask("POST", "/hooks/agent", host=host, headers={**plain, "Authorization": wrong})
    assert _places(box.decoys, runtime) == []
    assert (await box.ask("GET", "/v1/x", headers=header)).status in (401, 404)
    assert (await box.ask("POST", "/hooks/agent", host=host, headers=header)).status == 401
    assert _places(box.decoys, runtime) == [(Place.SIGN_IN, THIEF, 1), (Place.WEBHOOK, THIEF, 1)]


async def test_admins_are_told_on_every_page_and_its_member_on_theirs(box: Box, runtime: Runtime) -> None:
    olga, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    mia, _ = await box.signed_in(box.accounts.get(runtime.owner))
    ben, _ = await box.signed_in(await box.member("ben"))
    for path in ("/", "/box", f"/box/workspaces/{runtime.id}"):
        assert "was used" not in await (await box.page(path, olga)).text()
    box.decoys.spot(_decoy(box, runtime), Place.TOOLS, "<b>there</b>")
    await box.settled()
    told = f"The decoy key of the workspace {runtime.slug} was used to call a model from outside"
    for path in ("/", "/models", "/members"):
        page = await (await box.page(path, olga)).text()
        assert 'id="alarm"' in page and told in page and "&lt;b&gt;there" in page, path
    page = await (await box.page("/box", olga)).text()
    assert 'id="alarm"' not in page and "Used to call a model from outside, by &lt;b&gt;there" in page
    assert "once, last at" in page and "Let it go on" in page
    for path in ("/", "/workspace"):
        page = await (await box.page(path, mia)).text()
        assert 'id="decoy"' in page and 'id="alarm"' not in page, path
    assert "so it was stopped" in await (await box.page("/workspace", mia)).text(), "in its history"
    assert "was used" not in await (await box.page("/", ben)).text()
    found = re.search(r'name="seen" value="(\d+)"', await (await box.page("/box", olga)).text())
    assert found
    seen = found[1]
    assert (await box.send(f"/box/decoys/{runtime.id}/acknowledge", mia, seen=seen)).status == 403
    reply = await box.send(f"/box/decoys/{runtime.id}/acknowledge", olga, seen=str(int(seen) - 1))
    assert reply.status == 409 and "used again meanwhile" in await reply.text()
    assert (await box.send(f"/box/decoys/{runtime.id}/acknowledge", olga)).status == 400
    assert (await box.send(f"/box/decoys/{runtime.id}/acknowledge", olga, seen=seen)).status == 303
    assert (await box.send(f"/box/decoys/{runtime.id}/acknowledge", olga, seen=seen)).status == 404
    for token, path in ((olga, "/"), (olga, "/box"), (mia, "/")):
        page = await (await box.page(path, token)).text()
        assert "was used" not in page and 'id="decoy"' not in page and "Used to" not in page
    assert box.walls.held == frozenset() and box.woken[-1] == runtime.id
    row = await rows.get(box.db, runtime.id)
    assert row is not None and row.decoy == 1
    assert "took note of that" in await (await box.page("/workspace", mia)).text()


async def test_what_comes_of_it_is_an_admins_to_say(box: Box, runtime: Runtime) -> None:
    olga, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    mia, _ = await box.signed_in(box.accounts.get(runtime.owner))
    assert (await box.send("/box/decoys", mia, consequence="alarm")).status == 403
    refused = await box.send("/box/decoys", olga, consequence="nothing")
    assert refused.status == 400 and "Choose one of the list." in await refused.text()
    assert box.decoys.consequence is Consequence.STOP
    assert (await box.send("/box/decoys", olga, consequence="alarm")).status == 303
    assert '<option value="alarm" selected>' in await (await box.page("/box", olga)).text()
    box.decoys.spot(_decoy(box, runtime), Place.SIGN_IN, THIEF)
    page = await (await box.page("/box", olga)).text()
    assert "Take note, with a new decoy" in page and "badge warn" not in page


async def test_a_held_workspace_says_why_wherever_its_state_is_shown(box: Box, runtime: Runtime) -> None:
    box.decoys.spot(_decoy(box, runtime), Place.SIGN_IN, THIEF)
    nothing = World((), None, image_present=True, config_ok=True, token_ok=True, folder=True)
    facts = Facts(aim=Aim.DOWN, ready=False, booting_ms=0, image="x", shut=box.walls.why(runtime.id))
    phase, reason = derive(runtime, nothing, None, facts)
    assert phase is Phase.DEGRADED and f"used to sign in, by {THIEF}, so it was stopped" in reason
