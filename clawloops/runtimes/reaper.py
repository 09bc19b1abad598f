"""The only code that removes a workspace volume. The orchestrator cannot reach it: an import contract says so."""

from __future__ import annotations

import docker.errors

from clawloops.runtimes import names, volumes
from clawloops.runtimes.client import Api, Engine


async def remove(engine: Engine, install_id: str, runtime_id: str, number: int) -> None:
    """Remove it for ever. Gone already is fine. EngineRefused 409: a container uses it, or it is not ours."""
    await engine.call(lambda api: _remove(api, install_id, runtime_id, number))


def _remove(api: Api, install_id: str, runtime_id: str, number: int) -> None:
    if volumes.find(api, install_id, runtime_id, number):
        try:
            api.remove_volume(names.volume(install_id, runtime_id, number), force=False)
        except docker.errors.NotFound:
            return
