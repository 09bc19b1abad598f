"""Connections with the real OpenClaw behind the real proxy: taken while it runs, used, and told to nobody else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from clawloops.model.connection import BOT_TOKEN, Connection, Kind
from clawloops.model.egress import Outcome
from tests.orchestrator.live import Live, live_openclaw
from tests.orchestrator.outside import MCP, PROGRAM, SERVED, TELEGRAM, World, reached, results_of
from tests.standin.place import Place
from tests.upstream import Script

pytestmark = [pytest.mark.docker, pytest.mark.limit(300)]

TOKEN = "123456789:AAE-canary-of-telegram-0123456789abc"
BEARER, NEAR = "Bearer canary-of-a-header", "canary ${HOME} $${HOME} $HOME ${near} 'x' \"y\""
OPENCLAW = "node /opt/openclaw/node_modules/openclaw/dist/index.js"


def made(kind: Kind, name: str, target: str, **secrets: str) -> Connection:
    return Connection("x" + name, "u", kind, name, target, True, 1, 1, secrets)


FAR = replace(made(Kind.HTTP, "far", f"https://{MCP}/mcp"), secrets={"Authorization": BEARER})
BOT = replace(made(Kind.TELEGRAM, "telegram", ""), secrets={BOT_TOKEN: TOKEN})


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def live(docker_client: docker.DockerClient, place: Place, world: World) -> AsyncIterator[Live]:
    async with (
        live_openclaw(docker_client, place, trusts=world.certificate()) as live,
        reached(world, docker_client, place, live.runtime),
    ):
        yield live


async def until(what: Callable[[], object], *, within_s: float = 90) -> float:
    """How long it took, in seconds."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.05)
    return time.monotonic() - began


async def answered(live: Live, tool: str, **arguments: object) -> str:
    """What a turn gets whose model calls this tool of OpenClaw's. Tools of MCP servers are found and used by such."""
    live.model.seen.clear()
    live.model.scripts["small"] = Script(call={"name": tool, "arguments": arguments})
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    await live.rpc(
        "cron.add", name="turn", schedule={"kind": "at", "at": at}, sessionTarget="isolated", wakeMode="now",
        payload={"kind": "agentTurn", "message": "look it up", "timeoutSeconds": 60}, delivery={"mode": "none"},
    )  # fmt: skip
    await until(lambda: len(live.model.seen) >= 2)
    return results_of(live.model.seen[1].body)


async def reloaded(live: Live, connections: list[Connection]) -> float:
    """Give it these, and wait until it says that it looks at them. Returns the seconds."""
    lines = "grep -c 'evaluating reload' /tmp/openclaw/*.log"
    before = await live.place.inside(live.runtime, lines)
    began = time.monotonic()
    live.configure(connections=connections)
    async with asyncio.timeout(30):
        while await live.place.inside(live.runtime, lines) == before:
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def _a_server_of_its_own_is_reached_past_the_proxy(live: Live, world: World) -> None:
    write = f"cat > /home/node/near.py <<'END'\n{PROGRAM}\nEND\ncat > /home/node/served.py <<'END'\n{SERVED}\nEND\n"
    await live.place.inside(live.runtime, f"{write} nohup python3 /home/node/served.py >/dev/null 2>&1 &")
    await reloaded(live, [made(Kind.HTTP, "inside", "http://127.0.0.1:9000/mcp")])
    assert "inside__look" in await answered(live, "tool_search", query="look")
    assert world.outcomes() == set()


async def test_the_agent_gets_the_tools_of_servers_while_it_runs_and_loses_them_again(live: Live, world: World) -> None:
    await _a_server_of_its_own_is_reached_past_the_proxy(live, world)
    near = made(Kind.COMMAND, "near", "python3 /home/node/near.py 'two words ${PATH}'", NEAR_KEY=NEAR)
    started = live.place.container(live.runtime).attrs["State"]["StartedAt"]
    took = await reloaded(live, [near, FAR])
    print(f"MCP servers are taken after {took:.2f} s")
    valid = await live.place.inside(live.runtime, f"{OPENCLAW} config validate")
    assert "Config valid" in valid

    found = await answered(live, "tool_search", query="look")
    assert "near__look" in found and "far__look_up" in found
    assert json.dumps(f"TOLD {NEAR} two words ${{PATH}}")[1:-1] in found, "nothing was put in the place of a name"
    assert "forty-two" in await answered(live, "tool_call", id="far__look_up", args={})
    assert {each["Authorization"] for each in world.heads} == {BEARER}
    assert (MCP, Outcome.PASSED) in world.outcomes()

    await reloaded(live, [])
    found = await answered(live, "tool_search", query="look")
    assert "near__look" not in found and "far__look_up" not in found
    assert live.place.container(live.runtime).attrs["State"]["StartedAt"] == started
    await nothing_kept(live)


async def test_a_telegram_bot_answers_whom_it_is_told_to_and_nobody_else(live: Live, world: World) -> None:
    took = await reloaded(live, [BOT])
    took += await until(lambda: world.called("getupdates"))
    print(f"Telegram is asked after {took:.2f} s")
    assert {token for token, _, _ in world.methods} == {TOKEN}
    world.written.put_nowait((4242, "hello"))
    await until(lambda: world.called("sendmessage"))
    (told,) = world.called("sendmessage")
    assert str(told["chat_id"]) == "4242" and "Your Telegram user id: 4242" in told["text"] and live.model.seen == []

    await reloaded(live, [replace(BOT, target="4242")])
    world.methods.clear()
    world.written.put_nowait((666666, "let me in"))
    world.written.put_nowait((4242, "hello again"))
    await until(lambda: any("upstream" in json.dumps(each) for each in world.called("sendmessage")))
    assert {str(each["chat_id"]) for each in world.called("sendmessage")} == {"4242"}
    assert all("let me in" not in json.dumps(each.body) for each in live.model.seen)
    assert (TELEGRAM, Outcome.PASSED) in world.outcomes()

    await reloaded(live, [])
    await asyncio.sleep(3)  # what was asked when it was switched off
    world.methods.clear()
    await asyncio.sleep(5)
    assert world.methods == []
    await nothing_kept(live)


async def nothing_kept(live: Live) -> None:
    """Its secrets are in the configuration alone: in no snapshot, and in no log."""
    found = await live.place.inside(live.runtime, "grep -rl 'canary[- ]' /home/node /tmp 2>/dev/null")
    assert found == ""
    log = await asyncio.to_thread(live.place.container(live.runtime).logs)
    assert b"canary-of" not in log
