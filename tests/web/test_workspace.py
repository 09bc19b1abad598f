"""The page of a workspace: why it is as it is, what may be done about it and by whom, and what has happened."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from clawloops.clock import now_ms
from clawloops.model.account import Role, User
from clawloops.model.runtime import Phase, Policy, Runtime, Size, Sleep, View, Want
from clawloops.model.workspace import Task
from clawloops.store import events, jobs
from clawloops.store import runtimes as rows
from clawloops.web import cookies
from clawloops.web.routes import DASHBOARD, For
from clawloops.web.states import stages_of, state_of
from tests.web.box import Box

WHY = "It was paused because nobody used it for 15 minutes."


async def _mine(box: Box) -> tuple[User, Runtime, str]:
    mia = await box.member("mia")
    runtime = await box.workspace(mia)
    return mia, runtime, (await box.signed_in(mia))[0]


async def _sleeping(box: Box, runtime: Runtime, phase: Phase) -> Runtime:
    sleep = Sleep.PAUSED if phase is Phase.PAUSED else Sleep.STOPPED
    asleep = await rows.put(box.db, replace(await _row(box, runtime), sleep=sleep, sleep_why=WHY))
    box.board.know(asleep)
    box.board.put(View(runtime.id, phase, since=now_ms(), why=WHY))
    return asleep


async def _row(box: Box, runtime: Runtime) -> Runtime:
    row = await rows.get(box.db, runtime.id)
    assert row is not None
    return row


def _made(**changes: object) -> Runtime:
    made = Runtime("r1", "u1", "slug", Want.RUNNING, "10.0.0.0/29", 1, b"h" * 32, 1, 0, "", 0, 0)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runtime", "view", "word", "text", "why"),
    [
        (
            _made(),
            View("r1", Phase.QUEUED, "others are starting first", place=(2, 5)),
            "Waiting",
            "2nd of 5 waiting to start: others are starting first.",
            "",
        ),
        (_made(sleep=Sleep.PAUSED, sleep_why=WHY), View("r1", Phase.PAUSED), "Asleep", "It opens at once.", WHY),
        (
            _made(sleep=Sleep.STOPPED, sleep_why=WHY),
            View("r1", Phase.ASLEEP),
            "Asleep",
            "It starts when it is opened.",
            WHY,
        ),
        (
            _made(sleep_why="Woken by Ada"),
            View("r1", Phase.ASLEEP),
            "Waking",
            "It is being woken.",
            "Woken by Ada.",
        ),
        (
            _made(),
            View("r1", Phase.WORKING, "a snapshot of the workspace is being made"),
            "Working",
            "A snapshot of the workspace is being made. It goes on by itself when that is done.",
            "",
        ),
        (
            _made(want=Want.STOPPED, sleep_why="Stopped by Ada"),
            View("r1", Phase.STOPPED),
            "Stopped",
            "Its files are kept. It starts again when it is opened.",
            "Stopped by Ada.",
        ),
        (
            _made(),
            View("r1", Phase.READY, why="A model is answering; it sleeps after 15 minutes without use."),
            "Ready",
            "OpenClaw is running.",
            "A model is answering; it sleeps after 15 minutes without use.",
        ),
    ],
)
def test_every_state_has_words(runtime: Runtime, view: View, word: str, text: str, why: str) -> None:
    state = state_of(runtime, view)
    assert (state.word, state.text, state.why) == (word, text, why)


def test_whoever_waits_for_a_turn_sees_the_place_in_the_list_of_stages() -> None:
    stages = stages_of(_made(), View("r1", Phase.QUEUED, place=(11, 12)), now=1)
    assert [each.mark for each in stages] == ["done", "done", "now", "next"]
    assert stages[2].note == "11th of 12 waiting to start"


async def test_the_page_says_why_it_sleeps_and_its_button_wakes_it(box: Box) -> None:
    _, runtime, token = await _mine(box)
    await _sleeping(box, runtime, Phase.ASLEEP)
    page = await (await box.page("/workspace", token)).text()
    assert WHY in page and "It starts when it is opened." in page and ">Wake</button>" in page
    assert WHY in await (await box.page("/", token)).text()
    assert (await box.send("/workspace/start", token, back="/workspace")).headers["Location"] == "/workspace"
    woken = await _row(box, runtime)
    assert (woken.sleep, woken.sleep_why) == (Sleep.AWAKE, "Woken by Mia")
    page = await (await box.page("/workspace", token)).text()
    assert "Woken by Mia." in page and ">Wake</button>" not in page  # the wish counts before Docker has followed it


async def test_without_a_workspace_the_page_is_the_first_one(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("mia"))
    assert (await box.page("/workspace", token)).headers["Location"] == "/"
    assert (await box.page("/workspace/opening", token)).headers["Location"] == "/"
    assert (await box.send("/workspace/restart", token)).status == 404


async def test_a_restart_is_asked_for_once_and_what_waits_for_it_is_told(box: Box) -> None:
    _, runtime, token = await _mine(box)
    box.board.put(View(runtime.id, Phase.READY, address="127.0.0.1", pending="New settings are waiting for a restart."))
    assert "New settings are waiting" in await (await box.page("/workspace", token)).text()
    for _ in range(2):
        assert (await box.send("/workspace/restart", token)).status == 303
    assert [each.task for each in await jobs.open_(box.db)] == [Task.RESTART]
    await box.send("/workspace/stop", token)
    assert (await box.send("/workspace/restart", token)).status == 409


async def test_a_member_sets_how_deep_it_sleeps_and_not_how_large_it_is(box: Box) -> None:
    _, runtime, token = await _mine(box)
    page = await (await box.page("/workspace", token)).text()
    assert 'name="size"' not in page and "Medium: 2 GiB of memory, 2 cores" in page
    sent = await box.send("/workspace/settings", token, policy="pause", sleeps_despite_polling="on")
    assert sent.status == 303
    row = await _row(box, runtime)
    assert (row.policy, row.sleeps_despite_polling) == (Policy.PAUSE, True)
    assert (await box.send("/workspace/settings", token, policy="stop")).status == 303
    row = await _row(box, runtime)
    assert (row.policy, row.sleeps_despite_polling) == (Policy.STOP, False)
    assert (await box.send("/workspace/settings", token, size="large")).status == 403
    assert (await box.send("/workspace/settings", token, pin="evil:latest")).status == 403
    assert (await box.send("/workspace/settings", token, pin="")).status == 303
    assert (await box.send("/workspace/settings", token, policy="never")).status == 400
    assert await _row(box, runtime) == row


async def test_the_history_has_lengths_and_older_pages(box: Box) -> None:
    _, runtime, token = await _mine(box)
    for number in range(60):
        await events.add(
            box.db, runtime.id, at=now_ms(), kind="start", text=f"step <{number}>", took_ms=number * 100, actor=None
        )
    page = await (await box.page("/workspace", token)).text()
    assert "Step &lt;59&gt;." in page and "5.9 s" in page and "Step &lt;40&gt;." not in page
    older = page.split('href="/workspace/history?before=')[1].split('"')[0]
    page = await (await box.page(f"/workspace/history?before={older}", token)).text()
    assert "Step &lt;51&gt;." in page and "Step &lt;52&gt;." not in page and "Step &lt;12&gt;." in page
    assert (await box.page("/workspace/history?before=x'--", token)).status == 200


async def test_live_sends_a_new_line_of_the_history(box: Box) -> None:
    mia, runtime, token = await _mine(box)
    headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
    url = f"http://127.0.0.1:{box.site.port}/workspace/live"
    async with asyncio.timeout(10), box.http.get(url, headers=headers) as stream:
        await _part(stream.content)
        await events.add(box.db, runtime.id, at=now_ms(), kind="pause", text="it was frozen", actor=mia.id)
        box.board.tell(runtime.id)
        assert "It was frozen." in await _part(stream.content)


async def _part(content: object) -> str:
    while True:
        block = await content.readuntil(b"\n\n")  # type: ignore[attr-defined]
        if block.startswith(b"event: part"):
            return str(block.decode())


async def test_a_visit_wakes_a_stopped_workspace_and_waits_for_what_is_being_done_to_it(box: Box) -> None:
    mia, runtime, _ = await _mine(box)
    inside, _ = await box.inside(mia, runtime)
    host = box.site.workspace_host(runtime.slug)
    await _sleeping(box, runtime, Phase.ASLEEP)
    page = await box.page("/.clawloops/waking", inside, host=host)
    assert page.status == 200 and box.roused == [(runtime.id, "its pages were opened")]
    box.roused.clear()
    box.board.put(View(runtime.id, Phase.WORKING, "a snapshot of the workspace is being made"))
    headers = {"Host": host, "Cookie": f"{cookies.WORKSPACE}={inside}"}
    url = f"http://127.0.0.1:{box.site.port}/.clawloops/live"
    async with asyncio.timeout(10), box.http.get(url, headers=headers) as stream:
        assert "A snapshot of the workspace is being made." in await _part(stream.content)
        assert box.roused == []
        box.board.put(View(runtime.id, Phase.ASLEEP, why=WHY))
        assert 'data-phase="boot"' in await _part(stream.content)
        assert box.roused == [(runtime.id, "its pages were opened")]


# --- admins


async def test_an_admin_runs_the_workspace_of_a_member_and_cannot_enter_it(box: Box) -> None:
    _, runtime, _ = await _mine(box)
    token, _ = await box.signed_in(await box.member("olga", Role.ADMIN))
    base = f"/box/workspaces/{runtime.id}"
    page = await (await box.page(base, token)).text()
    assert "Workspace of Mia" in page and "Open workspace" not in page and 'name="size"' in page
    assert (await box.send(f"{base}/stop", token)).headers["Location"] == base
    assert (await _row(box, runtime)).want is Want.STOPPED
    assert "Stopped by Olga." in await (await box.page(base, token)).text()
    assert (await box.send(f"{base}/start", token, back="/box")).headers["Location"] == "/box"
    assert (await _row(box, runtime)).want is Want.RUNNING
    assert (await box.send(f"{base}/restart", token)).status == 303
    sent = await box.send(f"{base}/settings", token, policy="always-on", size="large", pin="clawloops/openclaw:1")
    assert sent.status == 303
    row = await _row(box, runtime)
    assert (row.policy, row.size, row.pin) == (Policy.ALWAYS_ON, Size.LARGE, "clawloops/openclaw:1")
    assert "Settings changed by Olga" in await (await box.page(f"{base}/history", token)).text()
    assert (await box.page("/box/workspaces/r0", token)).status == 404


async def test_a_webhook_address_is_switched_on_and_its_token_is_shown_once(box: Box) -> None:
    _, runtime, token = await _mine(box)
    shown = await box.send("/workspace/webhook", token, on="yes")
    text = await shown.text()
    secret = text.split('id="hook-token" value="')[1].split('"')[0]
    assert shown.status == 200 and await box.hooks.admits(runtime.id, secret) is not None
    page = await (await box.page("/workspace", token)).text()
    assert secret not in page and f"{box.site.workspace_origin(runtime.slug)}/hooks/agent" in page
    admins, _ = await box.signed_in(await box.member("olga", Role.ADMIN))
    base = f"/box/workspaces/{runtime.id}"
    assert (await box.send(f"{base}/webhook", admins, on="yes")).status == 403
    assert "Switch off" in await (await box.page(base, admins)).text()
    assert (await box.send(f"{base}/webhook", admins)).headers["Location"] == base
    assert await box.hooks.admits(runtime.id, secret) is None
    assert "Switch on" in await (await box.page("/workspace", token)).text()


async def test_an_image_that_is_none_is_told_on_the_page(box: Box) -> None:
    _, runtime, _ = await _mine(box)
    token, _ = await box.signed_in(await box.member("olga", Role.ADMIN))
    refused = await box.send(f"/box/workspaces/{runtime.id}/settings", token, pin="-v /:/host", policy="stop")
    assert refused.status == 400 and "is not the name of an image" in await refused.text()
    assert (await _row(box, runtime)).pin == ""


@pytest.mark.attacks(12)
async def test_a_form_does_not_lead_to_another_site(box: Box) -> None:
    _, _, token = await _mine(box)
    for elsewhere in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
        assert (await box.send("/workspace/stop", token, back=elsewhere)).headers["Location"] == "/"


@pytest.mark.attacks
@pytest.mark.parametrize("route", [each for each in DASHBOARD if each.access is For.ADMIN], ids=lambda each: each.path)
async def test_a_member_reaches_no_route_of_admins(box: Box, route: object) -> None:
    _, runtime, token = await _mine(box)
    other = await box.workspace(await box.member("ben"))
    before = await _row(box, other)
    assert isinstance(route, type(DASHBOARD[0]))
    path = re.sub(r"\{\w+\}", "x1", route.path.replace("{id}", other.id))
    reply = await (box.page(path, token) if route.method == "GET" else box.send(path, token, policy="pause"))
    assert reply.status == 403
    assert await _row(box, other) == before and runtime.id != other.id
