"""The box as admins see it: who waits, every workspace, and strangers that nobody touches."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace

from clawloops.model.account import Role
from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Phase, Sandbox, View
from clawloops.orchestrator.walls import Finding, Verdict
from clawloops.store import rollouts
from clawloops.store import volumes as rows
from clawloops.web import cookies
from tests.web.box import IMAGE, Box


@dataclass(frozen=True)
class Found:
    kind: str
    name: str
    why: str


async def test_it_shows_every_workspace_with_its_reason(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    mia = await box.workspace(await box.member("mia"), Phase.READY)
    ben = await box.workspace(await box.member("ben"), Phase.QUEUED)
    box.gate.ask(mia.id, memory_mb=2048)
    box.gate.ask(ben.id, memory_mb=2048)
    box.board.put(View(ben.id, Phase.QUEUED, "others are starting first", place=(1, 1)))
    page = await (await box.page("/box", token)).text()
    assert 'data-count="Awake">1<' in page and 'data-count="Waiting">1<' in page
    assert "Next to start: others are starting first." in page
    assert f"/box/workspaces/{mia.id}" in page and "Pause, then stop" in page
    assert "Not ours" not in page
    assert "share this host&#39;s kernel, behind" in page
    box.site = replace(box.site, sandbox=Sandbox.RUNSC)
    await box.close_dashboard()
    await box.open_dashboard()
    assert "start in gVisor (runsc)" in await (await box.page("/box", token)).text()


async def test_of_many_workspaces_a_leaf_is_shown_those_in_trouble_first_and_one_is_found_by_name(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    made = [await box.workspace(await box.member(f"m{number:02}")) for number in range(22)]
    box.show(made[20], Phase.DEGRADED, reason="its disk is full")

    async def shown(query: str) -> list[str]:
        text = await (await box.page(f"/box{query}", token)).text()
        return re.findall(r'<li id="runtime-(\w+)"', text)

    ids = [each.id for each in made]
    assert await shown("") == [ids[20], *ids[:19]] and await shown("?page=2") == [ids[19], ids[21]]
    assert await shown("?page=99") == await shown("?page=2") and await shown("?page=-1") == await shown("?page=x")
    assert await shown("?find=M07") == [ids[7]] and await shown("?find=nobody") == []
    text = await (await box.page("/box?find=m&page=2", token)).text()
    assert "21 to 22 of 22" in text and '<a href="/box?find=m#all-title">Previous</a>' in text
    assert 'data-live="/box/live?find=m&amp;page=2"' in text and 'data-count="Awake">21<' in text
    assert 'name="back" value="/box?find=m&amp;page=2"' in text
    assert "Nobody here is called “&lt;b&gt;”." in await (await box.page("/box?find=%3Cb%3E", token)).text()
    await box.send("/box/upgrade/canary", token, canary=ids[3])
    text = await (await box.page("/box?page=2", token)).text()
    offered = re.findall(r'<option value="(r\w+)" (selected)?', text[text.index('id="f-canary"') :])
    assert offered == [(ids[3], "selected"), (ids[19], ""), (ids[21], "")]
    sent = {"back": "/box?find=m&page=2"}
    reply = await box.send(f"/box/workspaces/{ids[21]}/stop", token, **sent)
    assert (reply.status, reply.headers["Location"]) == (303, sent["back"])


async def test_strangers_are_told_with_the_command_that_a_person_may_use(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    box.strangers = [
        Found("container", "clawloops-00000000-x", "it is <b>odd</b>"),
        Found("volume", "clawloops-00000000-ws-r9", "the database knows of none"),
    ]
    page = await (await box.page("/box", token)).text()
    assert "docker rm --force clawloops-00000000-x" in page and "It is &lt;b&gt;odd&lt;/b&gt;." in page
    assert "docker volume rm clawloops-00000000-ws-r9" in page


async def test_open_walls_are_told_to_admins_on_every_page_and_to_nobody_else(box: Box) -> None:
    owner, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    member, _ = await box.signed_in(await box.member("mia"))
    box.walls.tested(Finding(Verdict.CLOSED, "", 1))
    page = await (await box.page("/box", owner)).text()
    assert 'id="walls-state">Closed<' in page and 'id="alarm"' not in page
    box.walls.tested(Finding(Verdict.OPEN, "there is a way to <b>this host</b>", 2))
    for path in ("/", "/models", "/members"):
        page = await (await box.page(path, owner)).text()
        assert "All workspaces are stopped: there is a way to &lt;b&gt;this host&lt;/b&gt;." in page, path
    page = await (await box.page("/box", owner)).text()
    assert 'id="walls-state">Open<' in page and "There is a way to &lt;b&gt;this host&lt;/b&gt;." in page
    assert 'id="alarm"' not in page, "it is told there anyway, and kept up to date"
    assert 'id="alarm"' not in await (await box.page("/", member)).text()
    box.walls.tested(Finding(Verdict.UNTESTED, "the canary does not answer", 3))
    page = await (await box.page("/box", owner)).text()
    assert "The canary does not answer. What was stopped stays so." in page
    assert 'id="alarm"' in await (await box.page("/members", owner)).text()
    for _ in range(2):
        box.walls.tested(Finding(Verdict.CLOSED, "", 4))
    assert 'id="alarm"' not in await (await box.page("/", owner)).text()
    box.walls.tested(Finding(Verdict.UNTESTED, "the canary does not answer", 5))
    page = await (await box.page("/box", owner)).text()
    assert "Nobody is stopped for that." in page and 'id="alarm"' not in page
    box.walls.saw("r1", "another container was put on its network")
    assert "A workspace is stopped because of an open network" in await (await box.page("/", owner)).text()


async def test_it_follows_what_happens(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    runtime = await box.workspace(await box.member("mia"), Phase.BOOT)
    headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
    url = f"http://127.0.0.1:{box.site.port}/box/live"
    async with asyncio.timeout(10), box.http.get(url, headers=headers) as stream:
        box.show(runtime, Phase.READY, address="127.0.0.1")
        text = b""
        while b'data-phase="ready"' not in text:
            text += await stream.content.readany()


async def test_the_workspace_of_a_disabled_member_has_no_start(box: Box) -> None:
    olga = await box.member("olga", Role.OWNER)
    token, _ = await box.signed_in(olga)
    mia = await box.member("mia")
    runtime = await box.workspace(mia, Phase.STOPPED)
    await box.accounts.disable(mia.id, by=olga)
    page = await (await box.page("/box", token)).text()
    assert "disabled" in page and f'id="start-{runtime.id}"' not in page
    assert (await box.send(f"/box/workspaces/{runtime.id}/start", token)).status == 409


async def test_it_tells_how_far_an_upgrade_is_and_a_halted_one_is_tried_again(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    mia = await rows.used(box.db, await box.workspace(await box.member("mia")), image="clawloops/openclaw:1", now=1)
    await rows.used(box.db, await box.workspace(await box.member("ben")), image=IMAGE, now=1)
    assert "1 of 2 workspaces are on their image" in await (await box.page("/box", token)).text()
    assert (await box.send("/box/upgrade/again", token)).status == 409
    halted = Rollout(IMAGE, mia.id, RolloutState.HALTED, "the canary did not answer", 1, 2)
    await rollouts.begin(box.db, halted)
    page = await (await box.page("/box", token)).text()
    assert "Halted" in page and "The canary did not answer." in page and "clawloops/openclaw:1" in page
    assert (await box.send("/box/upgrade/again", token)).headers["Location"] == "/box"
    again = await rollouts.of(box.db, IMAGE)
    assert again is not None and again.state is RolloutState.CANARY
    assert (await box.send("/box/upgrade/canary", token, canary=mia.id)).status == 303
    assert f'value="{mia.id}" selected' in await (await box.page("/box", token)).text()
    assert (await box.send("/box/upgrade/canary", token, canary="r0")).status == 404
