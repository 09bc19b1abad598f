"""All containers of this install as a whole: what each uses now, and a new start for a part of the appliance."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import docker

from clawloops.clock import steady_ms
from clawloops.errors import Unavailable
from clawloops.model.gauge import Usage
from clawloops.runtimes import names
from clawloops.runtimes.client import Api, Engine

SERVICE = "com.docker.compose.service"
"""The label with which Compose says what a container is; whoever speaks through the guard can make none with it."""

PARTS = frozenset({"edge", "traefik", "clawloops", "guard", "litellm", "ollama", "vllm", "postgres", "certificates"})
RESTARTED = frozenset({"traefik", "litellm", "ollama", "vllm", "certificates"})
"""Parts that a fix may start anew: none that holds data, carries the others or stands between us and the Engine."""

STOPS_WITHIN_S = 10
_AT_ONCE = 8  # as many as one client keeps connections
_PASSED_OVER = frozenset({403, 404, 409})  # gone meanwhile, or a stranger with our label


def part_of(labels: Mapping[str, str] | None, install_id: str) -> str:
    """Which part of the appliance a container with these labels is; "" for none."""
    found = labels or {}
    part = found.get(SERVICE, "")
    is_other = names.RUNTIME in found or names.CARRIER in found
    return part if part in PARTS and found.get(names.INSTALL) == install_id and not is_other else ""


async def measure(engine: Engine, install_id: str, only: Collection[str] = ()) -> list[Usage]:
    """What each running container uses, some at a time in threads of its own. Raises Unavailable, EngineRefused.

    `only`: those of these runtimes; empty for all that there are.

    Engine 20.10 takes up to a second for each, which is a wait of its own and no work (measured, also with `one-shot`).
    """
    return await engine.apart(lambda api, stop: _measure(api, install_id, only, stop), timeout_s=20)


@dataclass(frozen=True, slots=True)
class Listed:
    """A container of this install, as the Engine's list tells of it."""

    name: str
    runtime_id: str  # "" for a part of the appliance
    part: str  # "" for a runtime
    image: str
    state: str
    status: str  # in words


def _restart(container: str, api: Api, _: threading.Event) -> None:
    api.restart(container, timeout=STOPS_WITHIN_S)


async def all(engine: Engine, install_id: str) -> list[Listed]:
    """All of them by name, those that are down as well. Raises Unavailable, EngineRefused."""
    wanted = {"label": f"{names.INSTALL}={install_id}"}
    found = await engine.call(lambda api: api.containers(all=True, filters=wanted))
    return sorted((_listed(row, install_id) for row in found), key=lambda each: each.name)


async def down(engine: Engine, install_id: str) -> list[str]:
    """Parts of the appliance that have a container and do not run, by name. Raises Unavailable, EngineRefused."""
    found = await all(engine, install_id)
    return sorted({each.part for each in found if each.part and each.state != "running"})


async def restart(engine: Engine, install_id: str, part: str) -> None:
    """Start a part anew, also one that is down. Raises Unavailable, EngineRefused."""
    wanted = {"label": [f"{names.INSTALL}={install_id}", f"{SERVICE}={part}"]}
    rows = await engine.call(lambda api: api.containers(all=True, filters=wanted))
    if not rows:
        raise Unavailable(f"there is no container of {part} on this host; run ./install.sh, which makes it")
    for row in rows:
        await engine.apart(partial(_restart, row["Id"]), timeout_s=60)


def _listed(row: Mapping[str, Any], install_id: str) -> Listed:
    labels = row.get("Labels") or {}
    return Listed(
        name=(row.get("Names") or ["/" + row["Id"][:12]])[0].lstrip("/"),
        runtime_id=labels.get(names.RUNTIME, ""),
        part=part_of(labels, install_id),
        image=row.get("Image", ""),
        state=row.get("State", ""),
        status=row.get("Status", ""),
    )


def _measure(api: Api, install_id: str, only: Collection[str], stop: threading.Event) -> list[Usage]:
    def look(row: Mapping[str, Any]) -> Usage | None:
        listed = _listed(row, install_id)
        if stop.is_set() or not (listed.runtime_id or listed.part):  # a stranger, or a carrier, which never runs
            return None
        if only and listed.runtime_id not in only:
            return None
        try:
            told = api.stats(row["Id"], stream=False, one_shot=True)
        except docker.errors.APIError as error:
            if error.status_code in _PASSED_OVER:
                return None
            raise
        return _usage(row["Id"], listed, told) if told.get("memory_stats") else None  # else it ended meanwhile

    rows = api.containers(filters={"label": [f"{names.INSTALL}={install_id}"]})
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="measure") as pool:
        return [each for each in pool.map(look, rows) if each is not None]


def _usage(container: str, listed: Listed, told: Mapping[str, Any]) -> Usage:
    """Format: GET /containers/{id}/stats of the Engine API 1.41. What a file cache holds is nobody's: it is given back.

    `inactive_file` is what cgroup v2 calls it, `total_inactive_file` v1 (as `docker stats` counts).
    """
    memory = told["memory_stats"]
    fine = memory.get("stats") or {}
    cache = fine.get("total_inactive_file", fine.get("inactive_file", 0))
    used = memory.get("usage", 0)
    return Usage(
        container=container,
        name=listed.name,
        runtime_id=listed.runtime_id,
        part=listed.part,
        image=listed.image,
        state=listed.state,
        cpu_ns=told["cpu_stats"]["cpu_usage"]["total_usage"],
        memory=used - cache if cache < used else used,
        at=steady_ms(),
    )
