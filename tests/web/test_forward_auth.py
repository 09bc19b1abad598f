"""ForwardAuth: each answer of the specification."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import aiohttp
import pytest

from clawloops.model.account import Role, User
from clawloops.model.runtime import Phase, Runtime
from clawloops.web import cookies
from clawloops.web.identity import SCOPES
from clawloops.web.visit import Places
from tests.web.box import NAVIGATE, Box
from tests.web.door import Asked, Line, status_of

Headers = list[tuple[str, str]]


@dataclass
class Door:
    box: Box
    mia: User
    runtime: Runtime
    host: str
    cookie: str

    async def ask(self, headers: Headers, runtime_id: str = "") -> aiohttp.ClientResponse:
        url = f"http://127.0.0.1:{self.box.auth_port}/forward-auth/{runtime_id or self.runtime.id}"
        reply = await self.box.http.get(url, headers=headers, allow_redirects=False)
        await reply.read()
        return reply

    def told(self, *, method: str = "GET", host: str = "", uri: str = "/chat", proto: str = "http") -> Headers:
        return [
            ("X-Forwarded-Method", method), ("X-Forwarded-Host", host or self.host),
            ("X-Forwarded-Uri", uri), ("X-Forwarded-Proto", proto),
        ]  # fmt: skip

    @property
    def signed_in(self) -> Headers:
        return [("Cookie", f"{cookies.WORKSPACE}={self.cookie}")]

    @property
    def navigates(self) -> Headers:
        return list(NAVIGATE.items())

    @property
    def origin(self) -> str:
        return f"http://{self.host}"


@pytest.fixture
async def door(box: Box) -> Door:
    mia = await box.member("mia")
    runtime = await box.workspace(mia)
    cookie, _ = await box.inside(mia, runtime)
    return Door(box, mia, runtime, box.site.workspace_host(runtime.slug), cookie)


@pytest.mark.attacks(8)
async def test_the_owner_passes_with_an_identity_and_without_our_cookies(door: Door) -> None:
    sent = [("Cookie", f"a=1; {cookies.WORKSPACE}={door.cookie}; theme=dark; __host-CL_x=2; =__Host-cl_ws=3; a=4")]
    reply = await door.ask([*door.told(), *sent, ("Authorization", "Bearer x"), ("X-Clawloops-User", "admin")])
    assert reply.status == 200
    assert reply.headers["X-Clawloops-User"] == door.mia.id
    assert reply.headers["X-OpenClaw-Scopes"] == SCOPES and SCOPES.startswith("operator.admin,")
    assert reply.headers["Cookie"] == "a=1; theme=dark; a=4"
    assert reply.headers["Authorization"] == ""


@pytest.mark.attacks(8)
async def test_the_cookie_header_is_set_even_when_nothing_is_left(door: Door) -> None:
    assert (await door.ask(door.told() + door.signed_in)).headers["Cookie"] == ""


async def test_a_stranger_who_navigates_goes_to_the_hand_over(door: Door) -> None:
    reply = await door.ask(door.told(uri="/a?b=c") + door.navigates)
    assert reply.status == 302 and reply.headers["Location"].startswith(f"{door.box.site.origin}/handover?host=")
    assert reply.headers["Location"].endswith("&to=/a%3Fb%3Dc")
    given = reply.headers["Set-Cookie"]
    assert given.startswith(f"{cookies.STATE}=") and given.endswith(
        "Path=/; Max-Age=120; Secure; HttpOnly; SameSite=Lax"
    )


@pytest.mark.attacks(9)
async def test_a_stranger_who_does_not_navigate_is_refused(door: Door) -> None:
    fetch = [("Sec-Fetch-Mode", "cors"), ("Accept", "text/html")]
    frame = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")]
    socket = [("Sec-WebSocket-Key", "x"), ("Origin", door.origin), ("Accept", "text/html")]
    for headers in (fetch, frame, socket, []):
        assert (await door.ask(door.told() + headers)).status == 401
    assert (await door.ask(door.told(method="POST") + door.navigates)).status == 401


@pytest.mark.attacks(10)
async def test_doubled_and_damaged_cookies_are_refused(door: Door) -> None:
    for sent in (
        [("Cookie", f"{cookies.WORKSPACE}={door.cookie}; {cookies.WORKSPACE}={door.cookie}")],
        [*door.signed_in, *door.signed_in],
        [("Cookie", f"{cookies.WORKSPACE}={door.cookie}x")],
        [("Cookie", f"{cookies.WORKSPACE}=")],
        [("Cookie", cookies.WORKSPACE.replace("_ws", "_hs") + f"=1; {cookies.WORKSPACE}={door.cookie}")],
    ):
        assert (await door.ask(door.told() + sent + door.navigates)).status == 400


@pytest.mark.attacks(9)
async def test_somebody_else_and_the_disabled_are_refused(door: Door) -> None:
    ben = await door.box.member("ben")
    his = await door.box.workspace(ben)
    cookie, _ = await door.box.inside(ben, his)
    for_his = [("Cookie", f"{cookies.WORKSPACE}={cookie}")]
    assert (await door.ask(door.told() + for_his + door.navigates)).status == 403
    stolen, _ = await door.box.inside(ben, door.runtime)  # a session that names this workspace, of another user
    assert (await door.ask([*door.told(), ("Cookie", f"{cookies.WORKSPACE}={stolen}")])).status == 403
    olga = await door.box.member("olga", Role.OWNER)
    await door.box.accounts.disable(door.mia.id, by=olga)
    assert (await door.ask(door.told() + door.signed_in)).status in (401, 403)


@pytest.mark.attacks(9)
async def test_a_dashboard_cookie_opens_no_workspace(door: Door) -> None:
    token, _ = await door.box.signed_in(door.mia)
    for name in (cookies.WORKSPACE, cookies.SESSION):
        assert (await door.ask([*door.told(), ("Cookie", f"{name}={token}")])).status == 401


@pytest.mark.attacks(14)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "dashboard", "missing", "doubled"])
async def test_a_websocket_from_elsewhere_is_refused(door: Door, origin: str) -> None:
    headers = [*door.told(), *door.signed_in, ("Sec-WebSocket-Key", "x")]
    named = door.box.site.origin if origin == "dashboard" else origin
    headers += {"missing": [], "doubled": [("Origin", door.origin)] * 2}.get(origin, [("Origin", named)])
    assert (await door.ask(headers)).status == 403


@pytest.mark.attacks(9)
async def test_only_the_exact_host_of_this_runtime_counts(door: Door) -> None:
    ben = await door.box.workspace(await door.box.member("ben"))
    for host in (
        door.host.upper(), door.host + ".", door.host.rsplit(":", 1)[0], "x" + door.host,
        f"{door.runtime.slug}.ws.evil.example", door.box.site.authority, door.host + ",x", f"a.{door.host}",
    ):  # fmt: skip
        assert (await door.ask(door.told(host=host) + door.signed_in)).status == 403, host
    assert (await door.ask(door.told() + door.signed_in, ben.id)).status == 403
    assert (await door.ask(door.told()[1:] + door.signed_in)).status == 403
    assert (await door.ask([*door.told(), *door.told()[1:2], *door.signed_in])).status == 403


async def test_a_visit_to_a_paused_runtime_goes_on_at_once(door: Door) -> None:
    for headers in (door.navigates, []):
        door.box.show(door.runtime, Phase.PAUSED, address="127.0.0.1")
        assert (await door.ask(door.told(uri="/chat") + door.signed_in + headers)).status == 200
    assert [runtime_id for runtime_id, _ in door.box.roused] == [door.runtime.id] * 2
    assert door.box.activity.idle_ms(door.runtime.id) < 5000


async def test_an_open_page_alone_wakes_nothing(door: Door) -> None:
    for phase in (Phase.PAUSED, Phase.ASLEEP):
        door.box.show(door.runtime, phase, address="127.0.0.1")
        for uri in ("/sw.js?v=1", "/favicon.svg", "/api/users/91ea921e-40cd/avatar?v=17"):
            assert (await door.ask(door.told(uri=uri) + door.signed_in)).status == 503, uri
    assert (await door.ask(door.told(uri="/assets/late.js") + door.signed_in)).status == 503
    assert door.box.roused == [] and door.box.activity.what(door.runtime.id) != ""


async def test_opening_the_page_of_a_stopped_sleeper_begins_its_boot(door: Door) -> None:
    door.box.show(door.runtime, Phase.ASLEEP)
    page = await door.ask(door.told(uri="/x") + door.signed_in + door.navigates)
    assert (page.status, page.headers["Location"]) == (302, f"{door.origin}/.clawloops/waking?to=/x")
    assert len(door.box.roused) == 1


@pytest.mark.attacks(9)
async def test_nobody_else_wakes_a_sleeping_runtime(door: Door) -> None:
    ben = await door.box.member("ben")
    theirs, _ = await door.box.inside(ben, await door.box.workspace(ben))
    for phase in (Phase.PAUSED, Phase.ASLEEP):
        door.box.show(door.runtime, phase, address="127.0.0.1")
        for cookie in ([], [("Cookie", f"{cookies.WORKSPACE}={theirs}")], [("Cookie", f"{cookies.WORKSPACE}=x")]):
            await door.ask(door.told(uri="/chat") + cookie + door.navigates)
            await door.ask(door.told(uri="/chat", method="POST") + cookie)
    assert door.box.roused == []


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in (Phase.READY, Phase.PAUSED)])
async def test_nobody_passes_before_openclaw_is_ready(door: Door, phase: Phase) -> None:
    door.box.show(door.runtime, phase, address="127.0.0.1")
    page = await door.ask(door.told(uri="/x") + door.signed_in + door.navigates)
    assert (page.status, page.headers["Location"]) == (302, f"{door.origin}/.clawloops/waking?to=/x")
    program = await door.ask(door.told() + door.signed_in)
    assert program.status == 503 and program.headers["Retry-After"]


@pytest.mark.attacks(9)
@pytest.mark.parametrize(
    "uri", ["/api/v1/admin/rpc", "/API/v1/admin/rpc?x", "//api//v1/x/../admin/rpc", "/%61pi/v1/admin%2Frpc",
            "/%2561pi/v1/admin/rpc", "/api/v1/admin;a/rpc", "/.clawloops/cb",
            "/%2eclawloops/x", "/a/..%2f.clawloops/x"],
)  # fmt: skip
async def test_closed_paths_are_closed_in_every_spelling(door: Door, uri: str) -> None:
    assert (await door.ask(door.told(method="POST", uri=uri) + door.signed_in)).status == 404


async def test_a_refusal_is_a_page_for_a_person_and_a_document_for_a_program(door: Door) -> None:
    stolen, _ = await door.box.inside(await door.box.member("ben"), door.runtime)
    sent = [*door.told(), ("Cookie", f"{cookies.WORKSPACE}={stolen}")]
    page, problem = await door.ask(sent + door.navigates), await door.ask(sent)
    text, document = await page.text(), await problem.json(content_type="application/problem+json")
    assert (page.status, problem.status, document["status"]) == (403, 403, 403)
    assert page.content_type == "text/html" and "This is not your workspace." in text
    assert document["detail"].startswith("This is not your workspace.")
    assert f"<code>{page.headers['X-Request-Id']}</code>" in text
    assert document["request_id"] == problem.headers["X-Request-Id"] != page.headers["X-Request-Id"]
    nonce = re.search(r"script-src 'nonce-([\w-]{22})'", page.headers["Content-Security-Policy"])
    assert nonce is not None and f'nonce="{nonce[1]}"' in text and "/.clawloops/static/app.css" in text
    for reply in (page, problem):
        assert reply.headers["X-Content-Type-Options"] == "nosniff" and reply.headers["Cache-Control"] == "no-store"
        assert "Server" not in reply.headers


@pytest.mark.attacks(9)
async def test_what_is_no_request_and_what_is_asked_elsewhere_is_refused(door: Door) -> None:
    line, asked = Line(door.box.auth_port), Asked(door.runtime.id, door.host, door.cookie)
    long = replace(asked, headers=[("X-Long", "y" * 40_000)])
    for raw in (b"nonsense\r\n\r\n", long.raw()):
        (answer,) = await line.ask(raw)
        assert status_of(answer) == 400 and b"Clear this site's cookies" in answer
    for path in (b"/", b"/forward-auth", b"/healthz"):
        (answer,) = await line.ask(asked.raw().replace(b"/forward-auth/" + door.runtime.id.encode(), path))
        assert status_of(answer) == 404
    (answer,) = await line.ask(asked.raw().replace(b"GET ", b"POST ", 1))
    assert status_of(answer) == 404
    line.close()


@pytest.mark.faults
async def test_a_store_that_fails_denies(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Places, slug: str) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(Places, "find", broken)
    reply = await door.ask(door.told() + door.signed_in)
    assert reply.status == 503 and "disk" not in await reply.text()


async def test_a_known_workspace_is_admitted_without_a_query(door: Door) -> None:
    assert (await door.ask(door.told() + door.signed_in)).status == 200
    await door.box.db.close()
    assert (await door.ask(door.told() + door.signed_in)).status == 200
