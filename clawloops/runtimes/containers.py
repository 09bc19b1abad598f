"""A runtime's containers: observe by label, create, start, pause, signal, remove. Volumes are never removed here."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

import docker.errors

from clawloops.clock import now_ms
from clawloops.errors import EngineRefused, EngineUnavailable
from clawloops.model.runtime import Sandbox
from clawloops.runtimes import drift, names
from clawloops.runtimes.client import Api, Engine, EngineFailed, EngineMissing
from clawloops.runtimes.drift import Settings
from clawloops.runtimes.seen import YOUNG_MS, Container, Image, State
from clawloops.runtimes.spec import HOME, spec_hash, swap_bytes

FREEZE_S = 5.0


async def seen(
    engine: Engine, install_id: str, runtime_id: str, *, body: Settings | None = None, image: Image | None = None
) -> list[Container]:
    """Every container that carries this install's and this runtime's labels, up or down.

    `body`: what spec.create_body asks for now; a container that promises it is held against it. `image`: its image.
    """
    return await engine.call(lambda api: _seen(api, install_id, runtime_id, body, image))


async def create(engine: Engine, name: str, body: dict[str, Any]) -> str:
    """Make it, not started. Returns its id. EngineRefused 409: the name is taken; EngineMissing: no such image."""
    made = await engine.call(lambda api: api.create_container_from_config(body, name))  # type: ignore[no-untyped-call]
    return str(made["Id"])


async def start(engine: Engine, container_id: str) -> None:
    """Start it; one that runs already is left as it is.

    An Engine that was killed while it started this one does not see what containerd has of it, and can neither start
    nor end that (moby issue 40613). EngineFailed tells then how it is ended.
    """
    try:
        await engine.call(lambda api: api.start(container_id))
    except EngineFailed as error:
        if "id already in use" not in str(error):
            raise
        raise EngineFailed(
            "the Docker Engine was ended while it started this workspace, and has lost sight of what it began; an "
            f"administrator ends that on the host with `pkill -KILL -f {container_id}`, and then it starts by itself"
        ) from error


async def signal(engine: Engine, container_id: str, name: str) -> None:
    """Send SIGTERM or SIGKILL and return at once, so that a drain of minutes occupies nothing. Down already is fine."""
    try:
        await engine.call(lambda api: api.kill(container_id, name))
    except EngineRefused as error:
        if error.status not in (404, 409):
            raise


async def pause(engine: Engine, container_id: str) -> None:
    """Freeze it; one that is frozen already is left as it is. EngineRefused 409: it does not run.

    A freeze that fails is tried again for `FREEZE_S`: a process that starts another one, or waits for a busy disk, gets
    in its way (runc: "unable to freeze"), and runc leaves it to its caller to ask again (its pull request 4388).
    """
    until = time.monotonic() + FREEZE_S
    while True:
        try:
            return await engine.call(lambda api: api.pause(container_id))
        except (EngineRefused, EngineUnavailable) as error:  # Engine 20.10 answers 500 to both of these
            if "already paused" in str(error):
                return None
            if "unable to freeze" not in str(error) or time.monotonic() > until:
                raise
        await asyncio.sleep(0.2)


async def unpause(engine: Engine, container_id: str) -> None:
    """Unpause it; one that is not paused is left as it is."""
    try:
        await engine.call(lambda api: api.unpause(container_id))
    except (EngineRefused, EngineUnavailable) as error:  # Engine 20.10 answers 500 to this one
        if "is not paused" not in str(error):
            raise


async def limit(engine: Engine, container_id: str, *, memory_mb: int, promised_mb: int) -> bool:
    """Set its memory limit, up or down, in MiB. Returns False when its memory does not fit into what is left of swap.

    Lowered below what a paused container uses, the kernel moves the rest to swap before this returns; `promised_mb`
    again gives the limit back, and the memory comes back as it is used. Never lower it without free swap for all of
    it: cgroup v1 then refuses and leaves the limit as it was, but cgroup v2 kills the container.
    """
    memory, swap = memory_mb * 1024 * 1024, swap_bytes(promised_mb)
    try:
        await engine.call(lambda api: api.update_container(container_id, mem_limit=memory, memswap_limit=swap))
    except (EngineRefused, EngineUnavailable) as error:
        if "unable to set memory limit" not in str(error) and "resource busy" not in str(error):
            raise
        return False
    return True


async def remove(engine: Engine, container_id: str, *, force: bool) -> None:
    """Remove a container that is down (`force`: or dead). Gone already, or going, is fine. Its volume stays."""
    try:
        await engine.call(lambda api: api.remove_container(container_id, v=False, force=force))
    except EngineMissing:
        return
    except EngineRefused as error:
        if error.status != 409:
            raise


def _seen(api: Api, install_id: str, runtime_id: str, body: Settings | None, image: Image | None) -> list[Container]:
    wanted = [f"{key}={value}" for key, value in names.labels(install_id, runtime_id).items()]
    rows = api.containers(all=True, filters={"label": wanted})
    network = names.network(install_id, runtime_id)
    seen = (_inspect(api, row["Id"], network, body, image) for row in rows)
    return [container for container in seen if container is not None]


def _inspect(api: Api, container_id: str, network: str, body: Settings | None, image: Image | None) -> Container | None:
    # Not from the list: right after a "die" event it still says "running" (the Engine copies its list's state later).
    try:
        row = api.inspect_container(container_id)
    except docker.errors.NotFound:
        return None  # removed between the two calls
    return _read(row, network, body, image)


def _read(row: Settings, network: str, body: Settings | None, image: Image | None) -> Container:
    state = State(row["State"]["Status"])
    endpoint = row["NetworkSettings"]["Networks"].get(network)
    started_at = str(row["State"]["StartedAt"])
    spec = (row["Config"].get("Labels") or {}).get(names.SPEC, "")
    promised = body is not None and spec == spec_hash(body)  # with another label it is outdated, not edited
    return Container(
        id=row["Id"],
        name=row["Name"].lstrip("/"),
        state=state,
        spec=spec,
        network_id=None if endpoint is None else endpoint.get("NetworkID", ""),
        exit_code=int(row["State"]["ExitCode"]),
        oom_killed=bool(row["State"]["OOMKilled"]),
        finished_at=str(row["State"]["FinishedAt"]),
        started_at=started_at,
        young=state is State.RUNNING and 0 <= now_ms() - _unix_ms(started_at) < YOUNG_MS,
        memory=int(row["HostConfig"]["Memory"]),
        image=row["Image"],
        volume=next((str(each.get("Name", "")) for each in row["Mounts"] if each["Destination"] == HOME), ""),
        edited=drift.differences(body, row, image=image) if body is not None and promised else (),
        is_rigid=row["HostConfig"].get("Runtime") == Sandbox.RUNSC,
        elsewhere=tuple(sorted(row["NetworkSettings"]["Networks"].keys() - {network})),
    )


def _unix_ms(instant: str) -> float:
    """The Engine's RFC 3339 text, with nanoseconds, as Unix ms."""
    return datetime.fromisoformat(instant).timestamp() * 1000
