"""A real OpenClaw's workspace, copied while it is paused: whole, and another member's without a trace of the first."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator

import docker
import pytest

from clawloops.model.runtime import Want
from clawloops.runtimes import names
from clawloops.runtimes.archive import Archive
from clawloops.runtimes.belongings import may_leave
from clawloops.runtimes.files import folder
from tests.orchestrator import live as lives
from tests.orchestrator.live import Live
from tests.standin.place import Place

pytestmark = [pytest.mark.docker, pytest.mark.limit(300)]

SAID = "Remember the word zebra"
STATES = """
const { DatabaseSync } = require('node:sqlite'); const fs = require('fs'); const path = require('path');
const found = {};
for (const file of fs.readdirSync('/home/node/.openclaw', { recursive: true })) {
  if (!file.endsWith('openclaw.sqlite') && !file.endsWith('openclaw-agent.sqlite')) continue;
  const db = new DatabaseSync(path.join('/home/node/.openclaw', file));
  const all = (sql) => { try { return db.prepare(sql).all(); } catch (error) { return []; } };
  found[path.basename(file)] = {
    whole: all('PRAGMA integrity_check')[0].integrity_check,
    devices: all('SELECT device_id, public_key_pem FROM device_identities').map((row) => row.device_id),
    leases: all('SELECT payload_json FROM state_leases').map((row) => JSON.parse(row.payload_json).owner?.host),
    said: all("SELECT * FROM transcript_events").filter((row) => JSON.stringify(row).includes('zebra')).length,
    logins: all('SELECT * FROM auth_profile_store').length,
  };
}
console.log(JSON.stringify(found));
"""


@pytest.fixture
async def live(docker_client: docker.DockerClient, place: Place) -> AsyncIterator[Live]:
    async with lives.live_openclaw(docker_client, place) as made:
        yield made


async def states(place: Place, runtime_id: str, number: int) -> dict[str, dict[str, object]]:
    """What is in the databases of a copy that nobody uses, read by the Node of OpenClaw's own image."""

    def work() -> bytes:
        return bytes(
            place.docker.containers.run(
                place.install.image,
                entrypoint=["node", "-e", STATES],
                network_mode="none",
                labels={names.MANAGED: "true", names.INSTALL: place.install_id},
                volumes={names.volume(place.install_id, runtime_id, number): {"bind": "/home/node"}},
                remove=True,
            )
        )

    return dict(json.loads(await asyncio.to_thread(work)))


async def remember(live: Live) -> None:
    """One turn whose conversation stays."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    made = await live.rpc(
        "cron.add",
        name="remember",
        enabled=True,
        schedule={"kind": "at", "at": at},
        sessionTarget="isolated",
        wakeMode="now",
        deleteAfterRun=False,
        payload={"kind": "agentTurn", "message": SAID, "timeoutSeconds": 60},
        delivery={"mode": "none"},
    )
    async with asyncio.timeout(60):
        assert await live.control._ended(live.address, made["id"]) == ""


async def test_a_copy_of_a_live_openclaw_is_whole_and_another_members_copy_is_nobody_but_theirs(live: Live) -> None:
    place, ada = live.place, live.runtime
    await remember(live)
    await place.inside(ada, "cd /home/node; mkdir -p .ssh; echo key > .ssh/id; echo mine > notes.md")
    archive = Archive(place.engine, place.install_id, place.install.image)
    ben = await place.member(Want.STOPPED)
    await live.pause()
    await archive.copy((ada.id, 0), (ada.id, 1))
    await archive.copy((ada.id, 0), (ben.id, 0), keep=may_leave)
    await live.unpause()

    snapshot = await states(place, ada.id, 1)
    assert {name: each["whole"] for name, each in snapshot.items()} == {
        "openclaw.sqlite": "ok",
        "openclaw-agent.sqlite": "ok",
    }
    assert snapshot["openclaw.sqlite"]["leases"] == [f"oc-{ada.id}"]
    assert snapshot["openclaw-agent.sqlite"]["said"]

    theirs = dataclasses.replace(
        live, runtime=ben, address=names.addresses(ben.subnet).runtime, files=folder(place.install.data, ben.id)
    )
    await lives._boot(theirs)  # at once, and not after the 300 s for which Ada's lease would keep Ben's host out
    assert await theirs.sessions() == await live.sessions()
    assert await place.inside(ben, "cd /home/node; cat notes.md; ls -A .ssh 2>/dev/null") == "mine"
    await theirs.pause()
    await archive.copy((ben.id, 0), (ben.id, 1))
    clone = await states(place, ben.id, 1)
    assert clone["openclaw.sqlite"]["leases"] == [f"oc-{ben.id}"]
    assert clone["openclaw.sqlite"]["devices"] != snapshot["openclaw.sqlite"]["devices"]
    assert clone["openclaw-agent.sqlite"]["said"] == snapshot["openclaw-agent.sqlite"]["said"]
    assert clone["openclaw-agent.sqlite"]["logins"] == snapshot["openclaw-agent.sqlite"]["logins"] == 0
