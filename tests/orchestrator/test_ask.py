"""What the control plane asks OpenClaw, against the real one, and against servers that answer nonsense."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import docker
import pytest
from aiohttp import web

from clawloops.errors import Unavailable
from clawloops.orchestrator.answers import blockers, own_jobs, payload_of, polling_channels, run_result, words
from clawloops.orchestrator.ask import (
    TIMEOUT_S,
    Busy,
    Completed,
    Control,
    Failed,
    NoAnswer,
    NoModel,
    Ready,
    control_session,
)
from clawloops.orchestrator.probe import over
from tests.orchestrator.live import SMALL, Live, live_openclaw
from tests.standin.place import Place
from tests.upstream import Script

EVERY_DAY_MS = 24 * 3600 * 1000
LARGE = replace(SMALL, id="m" + "1" * 16, name="large")


@pytest.fixture
async def live(docker_client: docker.DockerClient, place: Place) -> AsyncIterator[Live]:
    async with live_openclaw(docker_client, place) as made:
        yield made


async def _ready(live: Live) -> None:
    """Wait out what OpenClaw still does after it says that it has started, seldom enough for its limit."""
    async with asyncio.timeout(60):
        while not isinstance(await live.control.prepare(live.address), Ready):
            await asyncio.sleep(3)


async def _turn(live: Live) -> dict[str, Any]:
    """A job that begins a turn within a second: what a member's own schedule does."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    return await live.rpc(
        "cron.add", name="turn", schedule={"kind": "at", "at": at}, sessionTarget="isolated", wakeMode="now",
        payload={"kind": "agentTurn", "message": "hello", "timeoutSeconds": 60}, delivery={"mode": "none"},
    )  # fmt: skip


async def _takes_a_turn_at_once_after_a_pause(live: Live) -> None:
    control, address = live.control, live.address
    await _ready(live)
    await live.pause()
    assert isinstance(await control.prepare(address), NoAnswer)
    await asyncio.sleep(5)
    await live.unpause()
    began = time.monotonic()
    assert await control.resume(address)
    await _turn(live)
    assert time.monotonic() - began < 3
    async with asyncio.timeout(120):  # OpenClaw takes its time on a busy box
        while not live.model.seen:
            await asyncio.sleep(0.1)


async def _names_a_channel_that_polls(live: Live) -> None:
    assert await live.control.polling(live.address) == ()
    token = "123456:" + "A" * 35
    live.configure(
        plugins={
            "allow": ["memory-core", "canvas", "device-pair", "admin-http-rpc", "telegram"],
            "entries": {"admin-http-rpc": {"enabled": True}, "telegram": {"enabled": True}},
        },
        channels={"telegram": {"enabled": True, "botToken": token, "apiRoot": "http://clawloops-gateway:4000"}},
    )
    async with asyncio.timeout(60):
        while await live.control.polling(live.address) != ("Telegram",):
            await asyncio.sleep(0.5)


@pytest.mark.docker
@pytest.mark.limit(300)
async def test_a_live_openclaw_says_what_the_control_plane_has_to_know(live: Live) -> None:
    """With each boot taking ten to thirty seconds, one lives through all of this."""
    control, address = live.control, live.address
    await _takes_a_turn_at_once_after_a_pause(live)
    live.model.seen.clear()

    # Idle: ready, closed for anything else, and open again at once after `resume`, also for one who forgot the lease.
    await _ready(live)
    with pytest.raises(Unavailable, match="suspension"):
        await control.next_job(address)
    answers = over(live.session, timeout_s=TIMEOUT_S)
    assert not await answers(address), "closed, it says that it is draining"
    assert await Control(live.session).resume(address)
    assert await answers(address)
    assert await control.resume(address)

    # OpenClaw's own upkeep is no reason to wake; a member's job is.
    assert await control.next_job(address) is None
    due = int(time.time() * 1000) + EVERY_DAY_MS
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(due // 1000))
    job = await live.rpc(
        "cron.add", name="mine", schedule={"kind": "at", "at": at}, sessionTarget="main", wakeMode="now",
        payload={"kind": "systemEvent", "text": "water the plants"},
    )  # fmt: skip
    assert await control.next_job(address) == due // 1000 * 1000
    await live.rpc("cron.remove", id=job["id"])

    # A turn that a model keeps waiting is what it is busy with.
    live.model.scripts["small"] = Script(hang_after=2)
    turn = await _turn(live)
    async with asyncio.timeout(120):  # OpenClaw takes its time on a busy box
        while not live.model.seen:
            await asyncio.sleep(0.1)
    busy = await control.prepare(address)
    assert isinstance(busy, Busy)
    assert "a scheduled job is running" in busy.blockers or "a turn is running" in busy.blockers
    await live.rpc("cron.remove", id=turn["id"])


@pytest.mark.docker
@pytest.mark.limit(300)
async def test_one_answer_of_the_model_tells_whether_openclaw_works(live: Live) -> None:
    control, address = live.control, live.address
    before = await live.sessions()
    assert isinstance(await control.complete(address, limit_s=60), Completed)
    assert (await live.sessions(), await control.next_job(address)) == (before, None), "it left something behind"

    # Model list and default model reach it while it runs, and are what it uses.
    took = []
    for models in ([SMALL, LARGE], [SMALL], [SMALL, LARGE]):
        began = time.monotonic()
        live.configure(models=[replace(each, is_default=each is models[-1]) for each in models])
        async with asyncio.timeout(30):
            while {each["id"] for each in await _models(live) or []} != {each.name for each in models}:
                await asyncio.sleep(0.05)
        took.append(time.monotonic() - began)
    print(f"a new list of models is there after {', '.join(f'{each:.2f}' for each in took)} s")
    assert min(took) < 2
    assert isinstance(await control.complete(address, limit_s=60), Completed)
    assert live.model.seen[-1].body["model"] == "large"
    live.configure()
    async with asyncio.timeout(30):
        while len(await _models(live) or []) != 1:
            await asyncio.sleep(0.05)

    live.model.scripts["small"] = Script(status=500)
    failed = await control.complete(address, limit_s=15)
    assert isinstance(failed, Failed) and failed.reason
    assert await control.next_job(address) is None

    live.model.scripts["small"] = Script(status=401)
    assert isinstance(await control.complete(address, limit_s=15), Failed)

    live.configure(models=())
    async with asyncio.timeout(30):
        while await _models(live) != []:
            await asyncio.sleep(0.5)
    assert await control.complete(address, limit_s=15) == NoModel()
    await _names_a_channel_that_polls(live)


async def _models(live: Live) -> Any:
    """What it lists; None while it reads its configuration anew and refuses to say."""
    try:
        return (await live.rpc("models.list"))["models"]
    except Unavailable:
        return None


NONSENSE: tuple[bytes, ...] = (
    b"",
    b"<html>",
    b"[]",
    b"null",
    b'{"ok":true}',
    b'{"ok":"yes","payload":{}}',
    b'{"ok":true,"payload":[]}',
    b'{"ok":false}',
    b'{"ok":false,"error":{"message":{"a":1}}}',
    b"[" * 5000,
    b'{"ok":true,"payload":{"status":"ready","suspensionId":7}}',
    b'{"ok":true,"payload":{"status":"ready","suspensionId":""}}',
    b'{"ok":true,"payload":{"status":["busy"]}}',
    b'{"ok":true,"payload":{"jobs":{},"channelAccounts":[],"models":1,"id":[],"entries":{}}}',
)


@pytest.mark.attacks(20)
async def test_nonsense_is_no_answer_and_never_ready() -> None:
    said = b""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/api/v1/admin/rpc":
            return web.json_response({"ok": True, "payload": {"status": "ready", "suspensionId": "followed"}})
        if said == b"redirect":
            raise web.HTTPTemporaryRedirect("/elsewhere")
        if said == b"flood":
            reply = web.StreamResponse()
            await reply.prepare(request)
            while True:
                await reply.write(b" " * 65536)
        return web.Response(body=said)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with control_session() as session:
            control = Control(session, port=runner.addresses[0][1])
            for said in (*NONSENSE, b"redirect", b"flood"):
                assert isinstance(await control.prepare("127.0.0.1"), NoAnswer), said
                assert not await control.resume("127.0.0.1"), said
                with pytest.raises(Unavailable):
                    await control.next_job("127.0.0.1")
                with pytest.raises(Unavailable):
                    await control.polling("127.0.0.1")
                assert isinstance(await control.complete("127.0.0.1", limit_s=2), Failed | NoModel), said
    finally:
        await runner.cleanup()


@pytest.mark.attacks(20)
def test_what_a_runtime_says_is_short_and_plain_before_anybody_sees_it() -> None:
    assert words("a\x1b[31m\n\r\tb\u202ec") == "a [31m b c"
    assert len(words("x" * 10_000)) == 160
    assert words({"a": 1}) == ""
    with pytest.raises(Unavailable) as refused:
        payload_of("m", b'{"ok":false,"error":{"message":"' + b"y" * 9000 + b'\\n"}}')
    assert len(str(refused.value)) < 220 and "\n" not in str(refused.value)


def test_blockers_are_told_in_words() -> None:
    def said(*kinds: object) -> tuple[str, ...]:
        return blockers({"blockers": [{"kind": kind, "message": "1 thing\x00"} for kind in kinds]})

    assert said("embedded-run", "chat-run") == ("a turn is running",)
    assert said("brand-new") == ("1 thing",)
    assert blockers({}) == blockers({"blockers": [7, "x", {}]}) == ("something is going on",)
    assert len(blockers({"blockers": [{"message": str(each)} for each in range(1000)]})) == 8


def test_only_jobs_with_an_instant_and_an_owner_count() -> None:
    jobs = [
        {"nextRunAtMs": 5, "declarationKey": "heartbeat:main"},
        {"nextRunAtMs": 6, "declarationKey": "memory-core:memory-dreaming-promotion"},
        {"nextRunAtMs": True},
        {"nextRunAtMs": "7"},
        {"nextRunAtMs": -1},
        {"nextRunAtMs": 1e300},
        {"nextRunAtMs": 8.5},
        {"nextRunAtMs": 9, "declarationKey": "mine"},
        None,
    ]
    assert list(own_jobs({"jobs": jobs})) == [8, 9]


def test_a_channel_that_is_called_by_a_webhook_may_sleep() -> None:
    def polls(**account: object) -> bool:
        return polling_channels({"channelAccounts": {"x": [account]}}) == ("x",)

    assert polls(running=True, mode="polling")
    assert polls(running=True)
    assert polls(running=False, configured=True, enabled=True)
    assert not polls(running=True, mode="webhook")
    assert not polls(running=False, configured=True, enabled=True, webhookPath="/line")
    assert not polls(running=False, configured=True, enabled=False)
    assert not polls(running=False, configured=False)


def test_how_a_run_ended() -> None:
    assert run_result({"entries": []}) is None
    assert run_result({"entries": [{"action": "started"}]}) is None
    assert run_result({"entries": [{"action": "finished", "status": "ok", "summary": "ready"}]}) == ""
    assert run_result({"entries": [{"action": "finished", "status": "ok"}]}) == "the model gave no answer"
    assert run_result({"entries": [{"action": "finished", "status": "error", "error": "401\n"}]}) == "401"
