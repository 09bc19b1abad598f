"""An admin opens a member's workspace: by the forms, through the doors, and never once more after its end."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from aiohttp import WSMsgType

from clawloops.model.account import Role, Session, User
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.web import conversation, cookies
from tests.web.box import Box
from tests.web.door import Asked, status_of
from tests.web.door import Line as Door
from tests.web.line import Line, line
from tests.web.test_handover import begin, code_for, redeem

__all__ = ["line"]

WHY = "Mia is ill, and the <report> is due"


@dataclass
class Case:
    box: Box
    ada: User  # an admin
    session: Session
    token: str  # of her dashboard
    mia: User
    runtime: Runtime
    host: str
    members: str  # Mia's dashboard token

    @property
    def page(self) -> str:
        return f"/box/workspaces/{self.runtime.id}"

    async def open(self, **fields: str) -> int:
        sent = {"editing": "inspection", "reason": WHY, "minutes": "15", **fields}
        return (await self.box.send(f"{self.page}/inspections", self.token, **sent)).status

    async def enter(self) -> str:
        """By the whole way of a browser; the cookie of the workspace's host."""
        state, query = await code_for(self.box, self.host, self.token)
        status, _, cookie = await redeem(self.box, self.host, query, state)
        assert status == 303 and cookie
        return cookie

    @property
    def open_id(self) -> str:
        (found,) = self.box.inspections.concerning(self.mia.id)
        return found.id

    async def text(self, path: str, token: str) -> str:
        return await (await self.box.page(path, token)).text()


async def _case(box: Box, mia: User, runtime: Runtime) -> Case:
    ada = await box.member("ada", Role.ADMIN)
    token, session = await box.signed_in(ada)
    members, _ = await box.signed_in(mia)
    return Case(box, ada, session, token, mia, runtime, box.site.workspace_host(runtime.slug), members)


@pytest.fixture
async def case(box: Box) -> Case:
    mia = await box.member("mia")
    return await _case(box, mia, await box.workspace(mia))


async def test_an_admin_opens_it_both_are_told_and_the_member_ends_it(case: Case) -> None:
    box = case.box
    assert f"{case.page}/inspections" in await case.text(case.page, case.token)
    assert await case.open() == 303
    for path in ("/", "/workspace", "/account", "/keys"):
        text = await case.text(path, case.members)
        assert text.count("data-inspection") == 1 and "has your workspace open" in text
        assert "<q>Mia is ill, and the &lt;report&gt; is due</q>" in text
    for path in ("/", case.page, "/box"):
        text = await case.text(path, case.token)
        assert text.count("data-inspection") == 1 and f'href="{box.site.workspace_origin(case.runtime.slug)}/"' in text
    assert "Not entered yet." in await case.text("/workspace", case.members)
    await case.enter()
    reply = await box.send(f"/inspections/{case.open_id}/end", case.members)
    assert reply.headers["Location"] == "/workspace"
    text = await case.text("/workspace", case.members)
    assert "data-inspection" not in text and "Mia has ended it." in text and "Used from" in text
    assert "data-inspection" not in await case.text("/", case.token)
    assert "Mia has ended it." in await case.text(case.page, case.token)


async def test_another_admin_ends_it_from_the_workspaces_page(case: Case) -> None:
    await case.open()
    grace, _ = await case.box.signed_in(await case.box.member("grace", Role.ADMIN))
    form = f'action="/inspections/{case.open_id}/end"'
    assert form in await case.text(case.page, grace) and "data-inspection" not in await case.text("/", grace)
    assert (await case.box.send(f"/inspections/{case.open_id}/end", grace)).headers["Location"] == case.page
    assert form not in await case.text(case.page, grace) and "Grace has ended it." in await case.text(case.page, grace)


async def test_an_open_page_of_the_member_shows_it_without_being_loaded_again(case: Case) -> None:
    headers = {"Host": case.box.site.authority, "Cookie": f"{cookies.SESSION}={case.members}"}
    url = f"http://127.0.0.1:{case.box.site.port}/live"
    async with case.box.http.get(url, headers=headers) as stream, asyncio.timeout(10):
        await stream.content.readuntil(b"open-workspace")
        await case.open()
        await stream.content.readuntil(b"has your workspace open")


async def test_a_refused_form_is_shown_again_with_what_was_typed(case: Case) -> None:
    reply = await case.box.send(f"{case.page}/inspections", case.token, editing="inspection", reason=" ", minutes="240")
    text = await reply.text()
    assert reply.status == 400 and text.count("Say why, in at most") == 1
    assert re.search(r'<details class="sure" id="inspect" open', text) and '"240" selected' in text
    reply = await case.box.send(f"{case.page}/inspections", case.token, editing="inspection", reason=WHY, minutes="5")
    assert reply.status == 400 and case.box.inspections.concerning(case.mia.id) == []


@pytest.mark.attacks
async def test_an_admin_cannot_open_the_owners_nor_a_member_anybodys(case: Case) -> None:
    olga = await case.box.workspace(await case.box.member("olga", Role.OWNER))
    page = f"/box/workspaces/{olga.id}"
    assert "/inspections" not in await case.text(page, case.token)
    for path, token in ((page, case.token), (page, case.members), (case.page, case.members)):
        reply = await case.box.send(f"{path}/inspections", token, reason=WHY, minutes="15")
        assert reply.status == 403
    assert [each.action for each in await case.box.audit.latest(1)] == ["opening a workspace refused"]


@pytest.mark.attacks(12)
async def test_without_it_there_is_no_way_in_and_the_attempt_is_told(case: Case) -> None:
    _, path = await begin(case.box, case.host)
    assert (await case.box.page(path, case.token)).status == 403
    entry = (await case.box.audit.latest(1))[0]
    assert (entry.action, entry.actor, entry.subject) == (
        "opening a workspace refused", case.ada.id, case.runtime.slug,
    )  # fmt: skip


@pytest.mark.attacks(12)
async def test_it_is_open_to_the_one_browser_that_opened_it(case: Case) -> None:
    await case.open()
    other, _ = await case.box.signed_in(case.ada)
    second, _ = await case.box.signed_in(await case.box.member("grace", Role.ADMIN))
    for token in (other, second):
        _, path = await begin(case.box, case.host)
        assert (await case.box.page(path, token)).status == 403
    elsewhere = await case.box.workspace(await case.box.member("ben"))
    _, path = await begin(case.box, case.box.site.workspace_host(elsewhere.slug))
    assert (await case.box.page(path, case.token)).status == 403
    assert await case.enter()


@pytest.mark.attacks(12)
async def test_a_code_from_before_the_end_is_worth_nothing_after_it(case: Case) -> None:
    await case.open()
    state, query = await code_for(case.box, case.host, case.token)
    await case.box.inspections.end(case.open_id, by=case.mia)
    assert (await redeem(case.box, case.host, query, state))[::2] == (403, "")
    await case.open()
    assert (await redeem(case.box, case.host, query, state))[::2] == (410, "")


@pytest.mark.attacks(8, 9)
async def test_the_runtime_is_told_its_members_name_and_is_closed_with_the_next_request(case: Case) -> None:
    await case.open()
    cookie = await case.enter()
    asked, door = Asked(case.runtime.id, case.host, cookie), Door(case.box.auth_port)
    for _ in range(2):  # read, and remembered
        (answer,) = await door.ask(asked.raw())
        assert status_of(answer) == 200 and f"X-Clawloops-User: {case.mia.id}\r\n".encode() in answer
        assert case.ada.id.encode() not in answer
    elsewhere = await case.box.workspace(await case.box.member("ben"))
    there = Asked(elsewhere.id, case.box.site.workspace_host(elsewhere.slug), cookie)
    assert status_of((await door.ask(there.raw()))[0]) == 403
    await case.box.inspections.end(case.open_id, by=case.mia)
    assert status_of((await door.ask(asked.raw()))[0]) == 401
    await case.open()
    assert status_of((await door.ask(asked.raw()))[0]) == 401, "another one does not bring the cookie back"
    door.close()


@pytest.mark.attacks(9)
async def test_a_remembered_request_is_refused_once_its_time_is_up_though_nobody_has_looked(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    await case.open()
    asked, door = Asked(case.runtime.id, case.host, await case.enter()), Door(case.box.auth_port)
    assert status_of((await door.ask(asked.raw()))[0]) == 200
    (made,) = case.box.inspections.concerning(case.mia.id)
    monkeypatch.setattr("clawloops.control.inspections.steady_ms", lambda: 2**60)  # the wall clock stands still
    assert status_of((await door.ask(asked.raw()))[0]) == 403
    assert not case.box.inspections.holds(made)
    door.close()


async def test_it_wakes_a_stopped_workspace_and_its_member_reads_who_did(case: Case) -> None:
    box = case.box
    await box.runtimes.wish(case.runtime.id, Want.STOPPED, by=case.mia)
    await case.open()
    box.show(case.runtime, Phase.STOPPED)
    cookie = await case.enter()
    assert (await box.page("/.clawloops/waking", cookie, host=case.host)).status == 200
    assert "Started by Ada" in await case.text("/workspace", case.members)
    box.show(case.runtime, Phase.PAUSED)
    await box.page("/", cookie, host=case.host)
    assert box.roused[-1] == (case.runtime.id, "its pages were opened by Ada, an admin")


@pytest.mark.attacks
@pytest.mark.parametrize("who", ["member", "another"])
async def test_nobody_else_ends_it_and_an_old_page_ends_nothing(case: Case, who: str) -> None:
    await case.open()
    ben, _ = await case.box.signed_in(await case.box.member("ben"))
    made = case.open_id
    if who == "another":
        assert (await case.box.send(f"/inspections/{made}/end", ben)).status == 404
        assert case.open_id == made
        return
    for _ in range(2):
        assert (await case.box.send(f"/inspections/{made}/end", case.members)).status == 303
    await case.open()
    assert (await case.box.send(f"/inspections/{made}/end", case.members)).headers["Location"] == "/"
    assert case.open_id != made


@pytest.mark.attacks(15)
@pytest.mark.parametrize("end", ["the member", "the admin", "the clock", "signing out"])
async def test_an_admins_live_socket_is_cut_when_it_ends(line: Line, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = await _case(line.box, line.mia, line.runtime)
    box = case.box
    looking = asyncio.create_task(box.inspections.run())
    await case.open()
    line.cookie = await case.enter()
    socket = await line.connect()
    await socket.send_str("hi")
    assert (await socket.receive()).data == "heard hi"
    assert line.openclaw.asked[0].headers.getall("X-Clawloops-User") == [line.mia.id]
    began = time.monotonic()
    match end:
        case "the member":
            await box.send(f"/inspections/{case.open_id}/end", case.members)
        case "the admin":
            await box.send(f"/inspections/{case.open_id}/end", case.token)
        case "the clock":
            monkeypatch.setattr("clawloops.control.inspections.steady_ms", lambda: 2**60)
        case _:
            await box.send("/sign-out", case.token)
    message = await asyncio.wait_for(socket.receive(), 5)
    assert (message.type, message.data) == (WSMsgType.CLOSE, conversation.REVOKED)
    assert time.monotonic() - began < 5 and await line.refused() in (401, 403)
    looking.cancel()
    await socket.close()


async def test_what_an_admin_types_there_counts_as_its_last_use(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    case = await _case(line.box, line.mia, line.runtime)
    await case.open()
    line.cookie = await case.enter()
    socket = await line.connect()
    later = case.session.created_at + 60_000
    monkeypatch.setattr("clawloops.control.sessions.now_ms", lambda: later)
    await socket.send_str('{"type":"req","id":"1","method":"chat.send","params":{}}')
    await socket.receive()
    await case.box.inspections.end(case.open_id, by=case.mia)
    (kept,) = await case.box.inspections.of(case.runtime.id)
    assert kept.last_at == later
    await socket.close()


async def test_the_way_back_leads_to_the_dashboard_which_says_why(case: Case) -> None:
    await case.open()
    cookie = await case.enter()
    await case.box.inspections.end(case.open_id, by=case.mia)
    reply = await case.box.page("/chat", cookie, host=case.host)
    target = urlsplit(reply.headers["Location"])
    reply = await case.box.page(f"{target.path}?{target.query}", case.token)
    assert reply.status == 403 and "not any more" in await reply.text()
