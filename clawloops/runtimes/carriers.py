"""Carriers: containers that are made to mount one workspace volume for a copy, never started, and removed after it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker.errors
import requests

from clawloops.runtimes import bodies, names
from clawloops.runtimes.client import Api, Engine

_log = logging.getLogger(__name__)


_in_use: set[str] = set()  # names of those of this process


@contextmanager
def carrier(api: Api, install_id: str, image: str, runtime_id: str, number: int, *, writes: bool) -> Iterator[str]:
    """The id of one that mounts this volume, which must be there; to be used in a thread."""
    name = names.carrier(install_id, runtime_id, number, secrets.token_hex(3))
    body = bodies.carrier(install_id, image, names.volume(install_id, runtime_id, number), writes=writes)
    _in_use.add(name)
    try:
        made = api.create_container_from_config(body, name)  # type: ignore[no-untyped-call]
        try:
            yield str(made["Id"])
        finally:
            _remove(api, made["Id"], name)
    finally:
        _in_use.discard(name)


def _remove(api: Api, container: str, name: str) -> None:
    try:
        api.remove_container(container, v=False, force=True)
    except (docker.errors.DockerException, requests.RequestException) as error:
        _log.warning("the carrier %s is left to the next sweep: %s", name, error)


async def sweep(engine: Engine, install_id: str) -> int:
    """Remove those that nobody copies through any more: a crash left them. Returns how many. One process copies."""
    return await engine.call(lambda api: _sweep(api, install_id))


def _sweep(api: Api, install_id: str) -> int:
    wanted = [f"{names.MANAGED}=true", f"{names.INSTALL}={install_id}", f"{names.CARRIER}=true"]
    left = [row for row in api.containers(all=True, filters={"label": wanted}) if not _used(row)]
    for row in left:
        _remove(api, row["Id"], row["Names"][0])
    return len(left)


def _used(row: dict[str, Any]) -> bool:
    return any(name.lstrip("/") in _in_use for name in row["Names"])
