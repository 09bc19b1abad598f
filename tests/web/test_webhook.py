"""Webhooks: who may wake a workspace with one, what reaches OpenClaw, and how much is held."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from clawloops.errors import Forbidden, NotFound
from clawloops.model.account import Role, User
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.store import runtimes
from clawloops.store.db import Database
from clawloops.web import cookies, webhook
from tests.web.box import Box, listen

ADDRESS = "127.0.0.2"


@dataclass
class Hooked:
    box: Box
    mia: User
    runtime: Runtime
    host: str
    token: str
    asked: list[tuple[web.Request, bytes]] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request, await request.read()))
        if request.path == "/hooks/redirect":
            raise web.HTTPTemporaryRedirect("/hooks/agent")
        headers = {"Set-Cookie": "evil=1", "Location": "/x", "Retry-After": "7"}
        return web.json_response({"ok": True, "runId": "r1"}, status=200, headers=headers)

    async def post(
        self, path: str = "/hooks/agent", *, host: str = "", method: str = "POST", data: object = b"{}", **headers: str
    ) -> aiohttp.ClientResponse:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        return await self.box.ask(method, path, host=host or self.host, headers=sent, data=data)


@pytest.fixture
async def hooked(box: Box) -> AsyncIterator[Hooked]:
    async with AsyncExitStack() as stack:
        mia = await box.member("mia")
        runtime = await box.workspace(mia, address=ADDRESS)
        token = await box.hooks.enable(runtime.id, mia)
        made = Hooked(box, mia, runtime, box.site.workspace_host(runtime.slug), token)
        app = web.Application(client_max_size=4 * webhook.MAX_BODY)
        app.router.add_route("*", "/{rest:.*}", made.serve)
        await listen(stack, app, box.runtime_port, ADDRESS)
        yield made


async def test_a_webhook_reaches_openclaw_with_what_the_service_said(hooked: Hooked) -> None:
    reply = await hooked.post(data=b'{"message":"hi"}', **{"X-GitHub-Event": "push", "Idempotency-Key": "7"})
    assert (reply.status, await reply.json()) == (200, {"ok": True, "runId": "r1"})
    assert reply.headers["Retry-After"] == "7" and not {"Set-Cookie", "Location"} & set(reply.headers)
    ((asked, body),) = hooked.asked
    assert (asked.method, asked.path, body) == ("POST", "/hooks/agent", b'{"message":"hi"}')
    assert (asked.headers["X-GitHub-Event"], asked.headers["Idempotency-Key"]) == ("push", "7")
    assert asked.headers["Host"] == hooked.host


@pytest.mark.attacks(8, 19)
async def test_openclaw_learns_neither_the_token_nor_a_cookie_nor_an_identity(hooked: Hooked) -> None:
    cookie, _ = await hooked.box.inside(hooked.mia, hooked.runtime)
    spoofed = {
        "Cookie": f"{cookies.WORKSPACE}={cookie}; own=1", "X-Clawloops-User": "root", "X_Clawloops_User": "root",
        "X-OpenClaw-Scopes": "operator.admin", "X-OpenClaw-Token": "x", "Forwarded": "for=::1",
        "X_Forwarded_For": "::1", "X-Forwarded-For": "203.0.113.9",
    }  # fmt: skip
    assert (await hooked.post(**spoofed)).status == 200
    headers = hooked.asked[0][0].headers
    assert headers["Authorization"] == "Bearer " + hashlib.sha256(hooked.token.encode()).hexdigest()
    assert headers.getall("X-Forwarded-For") == ["203.0.113.9"]
    names = {name.lower() for name in headers}
    assert not names & {"cookie", "x-clawloops-user", "x_clawloops_user", "x-openclaw-scopes", "forwarded"}
    assert not names & {"x-openclaw-token", "x_forwarded_for"}
    assert hooked.token not in str(headers)


@pytest.mark.parametrize("phase", [Phase.PAUSED, Phase.ASLEEP])
async def test_a_webhook_wakes_a_sleeper_and_waits_for_it(hooked: Hooked, phase: Phase) -> None:
    box = hooked.box
    box.show(hooked.runtime, phase, address=ADDRESS)
    waiting = asyncio.create_task(hooked.post())
    async with asyncio.timeout(5):
        while not box.roused:
            await asyncio.sleep(0.02)
    if phase is Phase.ASLEEP:
        assert hooked.asked == [] and not waiting.done()
        box.show(hooked.runtime, Phase.READY, address=ADDRESS)
    assert (await waiting).status == 200
    assert len(hooked.asked) == 1


@pytest.mark.attacks(9)
async def test_nobody_without_the_token_wakes_or_reaches_anything(hooked: Hooked) -> None:
    other = await hooked.box.workspace(await hooked.box.member("ben"), Phase.PAUSED, address=ADDRESS)
    hooked.box.show(hooked.runtime, Phase.PAUSED, address=ADDRESS)
    digest = hashlib.sha256(hooked.token.encode()).hexdigest()
    texts = set()
    for token in ("", "x", digest, hooked.token[:-1]):
        reply = await hooked.post(Authorization=f"Bearer {token}")
        texts.add((reply.status, await reply.text()))
    elsewhere = await hooked.post(host=hooked.box.site.workspace_host(other.slug))
    texts.add((elsewhere.status, await elsewhere.text()))
    assert len(texts) == 1 and texts.pop()[0] == 401
    assert (await hooked.post(host=f"nobody.ws.{hooked.box.site.authority}")).status == 403
    assert (await hooked.post(host=hooked.box.site.authority)).status in (403, 404)
    for path in ("/hooks/", "/hooks/agent?token=x", "/hooks/..%2Fapi", "/hooks/a//b", "/hooks/%2e%2e/api"):
        assert (await hooked.post(path)).status == 404, path
    assert (await hooked.post(method="GET")).status == 405
    assert hooked.box.roused == [] and hooked.asked == []
    assert hooked.box.activity.what(hooked.runtime.id) == hooked.box.activity.what("nobody")


@pytest.mark.attacks(20)
async def test_wrong_tokens_are_slowed_down_and_shut_nobody_out_who_has_the_right_one(hooked: Hooked) -> None:
    codes = [(await hooked.post(Authorization="Bearer x")).status for _ in range(10)]
    assert codes[0] == 401 and codes[-1] == 429
    assert (await hooked.post()).status == 200, "another service may come from the same address"
    assert (await hooked.post(Authorization="Bearer x")).status == 429


@pytest.mark.faults
async def test_a_service_that_hangs_up_while_the_workspace_boots_has_its_event_delivered_once(hooked: Hooked) -> None:
    hooked.box.show(hooked.runtime, Phase.BOOT, address=ADDRESS)
    for _ in range(2 * webhook.PER_RUNTIME):  # more than there are places: each hangs up before the next
        impatient = asyncio.create_task(hooked.post(data=b'{"message":"hi"}'))
        await asyncio.sleep(0.05)
        impatient.cancel()
    hooked.box.show(hooked.runtime, Phase.READY, address=ADDRESS)
    async with asyncio.timeout(10):
        while len(hooked.asked) < webhook.PER_RUNTIME:
            await asyncio.sleep(0.02)
    await asyncio.sleep(1.0)
    assert [body for _, body in hooked.asked] == [b'{"message":"hi"}'] * webhook.PER_RUNTIME
    assert (await hooked.post()).status == 200, "the places are free again"


@pytest.mark.attacks(20)
async def test_guessing_costs_no_query(hooked: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    async def counted(db: Database, runtime_id: str) -> Runtime | None:
        asked.append(runtime_id)
        return await read(db, runtime_id)

    asked: list[str] = []
    read = runtimes.get
    monkeypatch.setattr(runtimes, "get", counted)
    for number in range(20):
        assert (await hooked.post(Authorization=f"Bearer {number}")).status in (401, 429)
    assert len(asked) == 1


async def test_a_token_made_while_another_one_is_looked_up_is_admitted(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overtaken(db: Database, runtime_id: str) -> Runtime | None:
        row = await read(db, runtime_id)
        monkeypatch.setattr(runtimes, "get", read)
        hooked.token = await hooked.box.hooks.enable(runtime_id, hooked.mia)
        return row

    read = runtimes.get
    monkeypatch.setattr(runtimes, "get", overtaken)
    await hooked.post(Authorization="Bearer x")
    assert (await hooked.post()).status == 200


async def test_an_address_that_is_switched_off_or_given_another_token_is_closed(hooked: Hooked) -> None:
    box, first = hooked.box, hooked.token
    hooked.token = await box.hooks.enable(hooked.runtime.id, hooked.mia)
    assert (await hooked.post()).status == 200
    assert (await hooked.post(Authorization=f"Bearer {first}")).status == 401
    await box.hooks.disable(hooked.runtime.id, hooked.mia)
    assert (await hooked.post()).status == 401
    hooked.token = await box.hooks.enable(hooked.runtime.id, hooked.mia)
    assert (await hooked.post()).status == 200
    ben, olga = await box.member("ben"), await box.member("olga", Role.ADMIN)
    with pytest.raises(NotFound):
        await box.hooks.enable(hooked.runtime.id, ben)
    with pytest.raises(Forbidden):
        await box.hooks.enable(hooked.runtime.id, olga)
    await box.hooks.disable(hooked.runtime.id, olga)


async def test_a_workspace_that_its_owner_stopped_stays_so(hooked: Hooked) -> None:
    await hooked.box.runtimes.wish(hooked.runtime.id, Want.STOPPED, by=hooked.mia)
    hooked.box.show(hooked.runtime, Phase.STOPPED)
    reply = await hooked.post()
    assert reply.status == 503 and "stopped by its owner" in await reply.text()
    assert hooked.box.roused == []


@pytest.mark.faults
async def test_what_is_too_large_too_many_or_too_slow_is_told(hooked: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    assert (await hooked.post(data=b"x" * (webhook.MAX_BODY + 1))).status == 413
    assert (await hooked.post(data=endless())).status == 413
    assert (await hooked.post(data=b"x" * webhook.MAX_BODY)).status == 200

    monkeypatch.setattr(webhook, "READY_S", 1.0)
    hooked.box.show(hooked.runtime, Phase.BOOT, address=ADDRESS)
    replies = await asyncio.gather(*(hooked.post() for _ in range(webhook.PER_RUNTIME + 3)))
    assert sorted(each.status for each in replies) == [503] * 3 + [504] * webhook.PER_RUNTIME
    hooked.box.show(hooked.runtime, Phase.DEGRADED, reason="no memory")
    assert (await hooked.post()).status == 503
    hooked.box.show(hooked.runtime, Phase.READY, address="127.0.0.3")
    assert (await hooked.post()).status == 502
    hooked.box.show(hooked.runtime, Phase.READY, address=ADDRESS)
    assert (await hooked.post()).status == 200, "a place that was given back is free again"


@pytest.mark.attacks(18)
async def test_a_runtimes_redirect_is_not_followed(hooked: Hooked) -> None:
    assert (await hooked.post("/hooks/redirect")).status in (307, 502)
    assert [asked.path for asked, _ in hooked.asked] == ["/hooks/redirect"]
