"""ForwardAuth's short way: what a request says is remembered, and whether it may pass is asked each time anew."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from clawloops.control.sessions import IDLE_MS
from clawloops.errors import Forbidden
from clawloops.model.account import Role, SessionKind, User
from clawloops.model.runtime import Phase, Runtime
from clawloops.web import forward_auth
from clawloops.web.visit import Ask, Doorkeeper, Visit
from clawloops.wire.request import Reply
from clawloops.wire.server import Server
from tests.web.box import Box
from tests.web.door import Asked, Line, status_of


@dataclass
class Known:
    """A member whose request came before and was let in."""

    box: Box
    mia: User
    runtime: Runtime
    asked: Asked
    line: Line
    answer: bytes
    token: str

    async def again(self, uri: str = "/chat?session=main") -> int:
        (answer,) = await self.line.ask(replace(self.asked, uri=uri).raw())
        return status_of(answer)


@pytest.fixture
async def known(box: Box) -> AsyncIterator[Known]:
    mia = await box.member("mia")
    runtime = await box.workspace(mia)
    token, _ = await box.inside(mia, runtime)
    asked = Asked(runtime.id, box.site.workspace_host(runtime.slug), token)
    line = Line(box.auth_port)
    (answer,) = await line.ask(asked.raw())
    assert status_of(answer) == 200
    yield Known(box, mia, runtime, asked, line, answer, token)
    line.close()


@pytest.fixture
def nobody(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    """The long way admits nobody: whoever passes has taken the short one."""

    async def admit(self: Doorkeeper, ask: Ask) -> Visit:
        raise Forbidden("nobody")

    monkeypatch.setattr(Doorkeeper, "admit", admit)


@pytest.mark.usefixtures("nobody")
async def test_the_same_browser_is_let_in_again_whatever_it_asks_for_and_told_the_same(known: Known) -> None:
    (answer,) = await known.line.ask(known.asked.raw())
    undated = [re.sub(rb"\r\nDate: [^\r]*", b"", each) for each in (answer, known.answer)]
    assert undated[0] == undated[1] and b"\r\nCookie: theme=dark\r\n" in answer
    for uri in ("/", "/assets/app.js?v=3", "/api/v1/x", "/a%20b"):
        assert await known.again(uri) == 200


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    "change",
    [
        {"runtime_id": "r0"},
        {"host": "x.ws.clawloops.localhost"},
        {"cookie": "A" * 43},
        {"method": "POST"},
        {"proto": "https"},
        {"headers": [("Sec-WebSocket-Key", "x")]},
        {"headers": [("Origin", "http://evil.example")]},
        {"headers": [("x-forwarded-uri", "/")]},
    ],
)
async def test_whatever_else_differs_it_is_read(known: Known, change: dict[str, Any]) -> None:
    (answer,) = await known.line.ask(replace(known.asked, **change).raw())
    assert status_of(answer) != 200


@pytest.mark.attacks(9)
@pytest.mark.parametrize(
    "uri",
    [
        *("/api/v1/admin/rpc", "/API/v1/%61dmin", "/.clawloops/cb", "/a/..%2f.clawloops/x"),
        *("", "chat", "*", "http://x/", "/chat\r\nX-Forwarded-Uri: /chat", "/chat\nX-Forwarded-Uri: /chat"),
    ],
)
async def test_a_closed_or_odd_target_is_closed_to_the_known_as_well(known: Known, uri: str) -> None:
    for _ in range(2):
        assert await known.again(uri) in (400, 403, 404)


@pytest.mark.attacks(9)
@pytest.mark.parametrize("end", ["sign-out", "revoke", "disable", "expire", "idle", "stop", "unknown", "deleted"])
async def test_a_right_that_ends_is_gone_with_the_next_request(
    known: Known, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = known.box
    session = box.sessions.find(known.token, SessionKind.WORKSPACE)
    assert session is not None and await known.again() == 200
    expected = 401
    match end:
        case "sign-out":
            await box.accounts.sign_out(next(each for each in box.sessions.of(known.mia.id)))
        case "revoke":
            await box.sessions.revoke(session)
        case "disable":
            await box.accounts.disable(known.mia.id, by=await box.member("olga", Role.OWNER))
        case "expire":
            monkeypatch.setattr("clawloops.control.sessions.now_ms", lambda: session.expires_at)
        case "idle":
            later = box.sessions._seen[session.hash] + IDLE_MS[SessionKind.WORKSPACE]
            monkeypatch.setattr("clawloops.control.sessions.now_ms", lambda: later)
        case "deleted":
            del box.accounts._users[known.mia.id]
            expected = 403
        case phase:
            box.show(known.runtime, {"stop": Phase.STOPPED, "unknown": Phase.UNKNOWN}[phase], address="127.0.0.1")
            expected = 503
    assert await known.again() == expected


@pytest.mark.attacks(9)
async def test_a_user_who_is_changed_is_looked_at_anew(known: Known) -> None:
    users, disabled = known.box.accounts._users, replace(known.mia, disabled_at=1)
    users[known.mia.id] = disabled  # as another process's change arrives, its sessions still live
    assert await known.again() == 403
    users[known.mia.id] = replace(known.mia, role=Role.ADMIN)
    assert await known.again() == 200


async def test_a_paused_runtime_goes_on_with_a_request_that_is_known(known: Known) -> None:
    known.box.show(known.runtime, Phase.PAUSED, address="127.0.0.1")
    assert await known.again() == 200 and len(known.box.roused) == 1
    known.box.show(known.runtime, Phase.PAUSED, address="127.0.0.1")
    assert await known.again("/favicon.svg") == 503 and len(known.box.roused) == 1


@pytest.mark.usefixtures("nobody")
async def test_each_request_counts_as_use_unless_an_open_page_sends_it_alone(known: Known) -> None:
    activity, sessions = known.box.activity, known.box.sessions
    activity.forget(known.runtime.id)
    assert await known.again("/favicon.svg") == 200 and activity.what(known.runtime.id) == ""
    (key,) = [each.hash for each in sessions._live.values() if each.kind is SessionKind.WORKSPACE]
    sessions._seen[key] -= 5000
    before = sessions._seen[key]
    assert await known.again() == 200 and activity.what(known.runtime.id) == "its pages were used"
    assert sessions._seen[key] >= before + 5000


async def test_only_those_who_were_let_in_are_remembered_and_not_too_many(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_auth, "_MOST_KNOWN", 3)
    door = forward_auth._Door(known.box.doorkeeper, None)  # type: ignore[arg-type]
    server = Server(door.answer, door.unread, at_once=door.again)
    line = Line(await server.listen("127.0.0.1", 0))
    monkeypatch.setattr(door, "_denied", lambda *_: Reply(403))
    for asked in (replace(known.asked, cookie="A" * 43), replace(known.asked, host="x"), replace(known.asked, uri="*")):
        assert [status_of(each) for each in await line.ask(asked.raw())] == [403]
    assert door._known == {}
    for number in range(10):
        headers = [("Accept-Charset", str(number))]
        assert [status_of(each) for each in await line.ask(replace(known.asked, headers=headers).raw())] == [200]
        assert 1 <= len(door._known) <= 3
    long = replace(known.asked, headers=[("Referer", "x" * 5000)]).raw()
    assert [status_of(each) for each in await line.ask(long)] == [200]
    assert not any(len(each) > 4096 for each in door._known)
    line.close()
    await server.close(within_s=0.1)


async def test_who_wants_the_connection_closed_is_read_each_time(known: Known) -> None:
    asked = replace(known.asked, headers=[("Connection", "close")])
    for _ in range(2):
        (answer,) = await known.line.ask(asked.raw())
        assert status_of(answer) == 200 and b"\r\nConnection: close\r\n" in answer


async def test_a_fault_of_what_is_asked_denies(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(runtime_id: str) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(known.box.board, "get", broken)
    assert await known.again() == 503
