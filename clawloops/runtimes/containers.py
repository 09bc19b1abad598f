"""A runtime's containers: observe by label, create, start, signal, unpause, remove. Volumes are never removed here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import docker.errors

from clawloops.clock import now_ms
from clawloops.errors import EngineRefused, EngineUnavailable
from clawloops.runtimes import names
from clawloops.runtimes.client import Api, Engine, EngineMissing
from clawloops.runtimes.seen import YOUNG_MS, Container, State


async def seen(engine: Engine, install_id: str, runtime_id: str) -> list[Container]:
    """Every container that carries this install's and this runtime's labels, up or down."""
    return await engine.call(lambda api: _seen(api, install_id, runtime_id))


async def create(engine: Engine, name: str, body: dict[str, Any]) -> str:
    """Make it, not started. Returns its id. EngineRefused 409: the name is taken; EngineMissing: no such image."""
    made = await engine.call(lambda api: api.create_container_from_config(body, name))  # type: ignore[no-untyped-call]
    return str(made["Id"])


async def start(engine: Engine, container_id: str) -> None:
    """Start it; one that runs already is left as it is."""
    await engine.call(lambda api: api.start(container_id))


async def signal(engine: Engine, container_id: str, name: str) -> None:
    """Send SIGTERM or SIGKILL and return at once, so that a drain of minutes occupies nothing. Down already is fine."""
    try:
        await engine.call(lambda api: api.kill(container_id, name))
    except EngineRefused as error:
        if error.status not in (404, 409):
            raise


async def unpause(engine: Engine, container_id: str) -> None:
    """Unpause it; one that is not paused is left as it is."""
    try:
        await engine.call(lambda api: api.unpause(container_id))
    except (EngineRefused, EngineUnavailable) as error:  # Engine 20.10 answers 500 to this one
        if "is not paused" not in str(error):
            raise


async def remove(engine: Engine, container_id: str, *, force: bool) -> None:
    """Remove a container that is down (`force`: or dead). Gone already, or going, is fine. Its volume stays."""
    try:
        await engine.call(lambda api: api.remove_container(container_id, v=False, force=force))
    except EngineMissing:
        return
    except EngineRefused as error:
        if error.status != 409:
            raise


def _seen(api: Api, install_id: str, runtime_id: str) -> list[Container]:
    wanted = [f"{key}={value}" for key, value in names.labels(install_id, runtime_id).items()]
    rows = api.containers(all=True, filters={"label": wanted})
    seen = (_read(api, row["Id"], names.network(install_id, runtime_id)) for row in rows)
    return [container for container in seen if container is not None]


def _read(api: Api, container_id: str, network: str) -> Container | None:
    # Not from the list: right after a "die" event it still says "running" (the Engine copies its list's state later).
    try:
        row = api.inspect_container(container_id)
    except docker.errors.NotFound:
        return None  # removed between the two calls
    state = State(row["State"]["Status"])
    endpoint = row["NetworkSettings"]["Networks"].get(network)
    started_at = str(row["State"]["StartedAt"])
    return Container(
        id=row["Id"],
        name=row["Name"].lstrip("/"),
        state=state,
        spec=row["Config"]["Labels"].get(names.SPEC, ""),
        network_id=None if endpoint is None else endpoint.get("NetworkID", ""),
        exit_code=int(row["State"]["ExitCode"]),
        oom_killed=bool(row["State"]["OOMKilled"]),
        finished_at=str(row["State"]["FinishedAt"]),
        started_at=started_at,
        young=state is State.RUNNING and 0 <= now_ms() - _unix_ms(started_at) < YOUNG_MS,
    )


def _unix_ms(instant: str) -> float:
    """The Engine's RFC 3339 text, with nanoseconds, as Unix ms."""
    return datetime.fromisoformat(instant).timestamp() * 1000
