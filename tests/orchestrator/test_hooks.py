"""The webhook address in the real OpenClaw: switched on while it runs, opened by the hash of the caller's token."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json

import aiohttp
import docker
import pytest

from clawloops.orchestrator.probe import HEADERS
from clawloops.runtimes.spec import PORT
from tests.orchestrator.live import Live, live_openclaw
from tests.standin.place import Place

pytestmark = [pytest.mark.docker, pytest.mark.limit(240)]


async def _post(live: Live, token: str) -> tuple[int, dict[str, object]]:
    url = f"http://{live.address}:{PORT}/hooks/agent"
    sent = {**HEADERS, "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"message": "the import is done", "deliver": False, "waitForCompletion": True})
    limit = aiohttp.ClientTimeout(total=60)
    async with live.session.post(url, headers=sent, data=body, timeout=limit) as reply:
        text = await reply.read()
        return reply.status, json.loads(text) if text.startswith(b"{") else {}


async def test_a_webhook_begins_a_turn_once_its_address_is_on(docker_client: docker.DockerClient, place: Place) -> None:
    async with live_openclaw(docker_client, place) as live:
        assert (await _post(live, "x"))[0] in (401, 403, 404, 405), "it is off until its owner switches it on"
        digest = hashlib.sha256(b"the caller's token").digest()
        live.runtime = dataclasses.replace(live.runtime, hook_hash=digest)
        live.configure()
        async with asyncio.timeout(30):
            while (found := await _post(live, digest.hex()))[0] != 200:
                await asyncio.sleep(1)
        assert found[1]["ok"] is True and found[1]["completion"], found
        assert [each.body["model"] for each in live.model.seen][:1] == ["small"]
        assert (await _post(live, "the caller's token"))[0] == 401
        live.runtime = dataclasses.replace(live.runtime, hook_hash=None)
        live.configure()
        async with asyncio.timeout(30):
            while (await _post(live, digest.hex()))[0] == 200:
                await asyncio.sleep(1)
