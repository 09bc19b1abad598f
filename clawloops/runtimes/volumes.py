"""A member's workspace volume: made once, with our labels. There is no way to delete one here."""

from __future__ import annotations

from typing import Any

from clawloops.errors import EngineRefused
from clawloops.runtimes import names
from clawloops.runtimes.client import Engine


async def ensure(engine: Engine, install_id: str, runtime_id: str) -> None:
    """Make it if it is not there. EngineRefused when one of that name is there and is not ours."""
    name = names.volume(install_id, runtime_id)
    labels = names.labels(install_id, runtime_id)
    # The Engine answers with the volume that is there, whatever labels it has.
    found: dict[str, Any] = await engine.call(lambda api: api.create_volume(name, driver="local", labels=labels))
    if not labels.items() <= (found.get("Labels") or {}).items() or found.get("Options"):
        raise EngineRefused(
            f"the Docker volume {name} is not of this install; see `docker volume inspect {name}` and move it away",
            status=409,
        )
