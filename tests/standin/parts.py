"""An orchestrator's parts for tests: the way to a runtime leads through its edge's network namespace."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from typing import Any

import docker
import docker.errors
import orjson

from clawloops.errors import Unavailable
from clawloops.model.decoy import DecoyKeys
from clawloops.orchestrator.admission import Box, Gate
from clawloops.orchestrator.answers import payload_of
from clawloops.orchestrator.ask import Control
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.execute import Tokens
from clawloops.orchestrator.loop import Orchestrator
from clawloops.orchestrator.phase import SLOW_BOOT_MS
from clawloops.orchestrator.probe import HEADERS, Probe, started
from clawloops.orchestrator.sleep import Rules
from clawloops.orchestrator.walls import Walls
from clawloops.runtimes.client import Engine
from clawloops.runtimes.openclaw import CONTROL_USER
from clawloops.runtimes.spec import PORT, Install
from clawloops.store.db import Database
from clawloops.store.seal import Sealer

NEVER = Rules(pause_after_ms=10**12, stop_after_ms=10**12)
DECOYS = DecoyKeys(bytes(32))
SEALER = Sealer(bytes(32), install_id="0" * 8)
ROOMY = Box(memory_mb=10**6, disk_mb=10**6, swap_mb=0)


def orchestrator(
    db: Database,
    engine: Engine,
    tokens: Tokens,
    *,
    install: Install,
    probe: Probe,
    control: Control,
    rules: Rules = NEVER,
    gate: Gate | None = None,
    board: Board | None = None,
    walls: Walls | None = None,
    trial_ms: int = SLOW_BOOT_MS,
) -> Orchestrator:
    """One that never puts anything to sleep and starts many at once, unless told otherwise."""
    return Orchestrator(
        db,
        engine,
        tokens,
        install=install,
        probe=probe,
        control=control,
        rules=rules,
        gate=gate or Gate(lambda: ROOMY, slots=16),
        decoys=DECOYS,
        sealer=SEALER,
        board=board,
        walls=walls,
        trial_ms=trial_ms,
    )


_AS_CONTROL = (
    *("-m", "5", "-H", "Content-Type: application/json"),
    *("-H", f"X-Clawloops-User: {CONTROL_USER}", "-H", "X-OpenClaw-Scopes: operator.admin"),
)


class FromEdge(Control):
    """The control plane's questions, sent from the edge's network namespace."""

    def __init__(self, client: docker.DockerClient, edge: str) -> None:  # no session: nothing here can use one
        self._client = client
        self._edge = edge

    async def _call(self, address: str, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        body = orjson.dumps({"method": method, "params": params}).decode()
        pid = await edge_pid(self._client, self._edge)
        if pid is None:
            raise Unavailable("there is no edge")
        url = f"http://{address}:{PORT}/api/v1/admin/rpc"
        return payload_of(method, await from_namespace(pid, url, *_AS_CONTROL, "--data-binary", body))


async def edge_pid(client: docker.DockerClient, edge: str) -> int | None:
    try:
        return int((await asyncio.to_thread(client.containers.get, edge)).attrs["State"]["Pid"])
    except (docker.errors.DockerException, OSError):
        return None


async def from_edge(client: docker.DockerClient, edge: str, address: str) -> bool:
    """A probe from the edge's network namespace."""
    pid = await edge_pid(client, edge)
    return pid is not None and started(await from_namespace(pid, f"http://{address}:{PORT}/startupz"))


async def from_namespace(pid: int, url: str, *options: str) -> bytes:
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    child = await asyncio.create_subprocess_exec(
        *("nsenter", f"--net=/proc/{pid}/ns/net", "curl", "-s", "-m", "2", *headers, *options, url),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return (await child.communicate())[0]
