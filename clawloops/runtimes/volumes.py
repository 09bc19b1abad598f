"""A member's workspace volumes: made with our labels, found, never overwritten. Only `reaper.py` can remove one."""

from __future__ import annotations

from typing import Any

import docker.errors

from clawloops.errors import EngineRefused
from clawloops.runtimes import bodies, names
from clawloops.runtimes.client import Api, Engine, EngineMissing


async def ensure(engine: Engine, install_id: str, runtime_id: str, number: int = 0) -> None:
    """Make it if it is not there. EngineRefused when one of that name is there and is not ours."""
    await engine.call(lambda api: make(api, install_id, runtime_id, number))


async def exists(engine: Engine, install_id: str, runtime_id: str, number: int = 0) -> bool:
    """Whether it is there. EngineRefused when one of that name is there and is not ours."""
    return await engine.call(lambda api: find(api, install_id, runtime_id, number))


async def every(engine: Engine, install_id: str) -> set[tuple[str, int]]:
    """Runtime id and number of all that are of this install."""
    rows = (await engine.call(lambda api: api.volumes()))["Volumes"] or []
    found = {}
    for row in rows:
        if (which := names.volume_of(row["Name"], install_id)) is not None:
            found[which] = row.get("Labels") or {}
    return {each for each, labels in found.items() if names.labels(install_id, each[0]).items() <= labels.items()}


def make(api: Api, install_id: str, runtime_id: str, number: int) -> None:
    """As `ensure`, to be called in a thread."""
    body = bodies.volume(install_id, runtime_id, number)
    # The Engine answers with the volume that is there, whatever labels it has.
    _check(api.create_volume(body["Name"], driver=body["Driver"], labels=body["Labels"]), install_id, runtime_id)


def make_new(api: Api, install_id: str, runtime_id: str, number: int) -> None:
    """Make one that is not there yet, so that nothing is ever written over. EngineRefused 409 when it is."""
    if find(api, install_id, runtime_id, number):
        name = names.volume(install_id, runtime_id, number)
        raise EngineRefused(f"the Docker volume {name} is there already, and nothing is written over it", status=409)
    make(api, install_id, runtime_id, number)


def find(api: Api, install_id: str, runtime_id: str, number: int) -> bool:
    """As `exists`, to be called in a thread."""
    try:
        row = api.inspect_volume(names.volume(install_id, runtime_id, number))
    except docker.errors.NotFound:
        return False
    _check(row, install_id, runtime_id)
    return True


def need(api: Api, install_id: str, runtime_id: str, number: int) -> None:
    """EngineMissing when it is not there: mounting it would make an empty one."""
    if not find(api, install_id, runtime_id, number):
        name = names.volume(install_id, runtime_id, number)
        raise EngineMissing(f"the Docker volume {name} is not there; restore a snapshot or the trash", status=404)


def _check(row: dict[str, Any], install_id: str, runtime_id: str) -> None:
    if not names.labels(install_id, runtime_id).items() <= (row.get("Labels") or {}).items() or row.get("Options"):
        name = row["Name"]
        raise EngineRefused(
            f"the Docker volume {name} is not of this install; see `docker volume inspect {name}` and move it away",
            status=409,
        )
