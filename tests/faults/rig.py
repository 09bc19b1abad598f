"""A place with all that a fault needs: a breakable socket, control planes to kill, witnesses of what may not happen.

The rig's own test client speaks to Docker directly, so that it sees the truth while the control plane sees the fault.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import docker
import docker.errors

from clawloops.errors import Conflict
from clawloops.model.runtime import Phase, Runtime, Sleep, Want
from clawloops.runtimes import names
from clawloops.runtimes.files import UID
from clawloops.store import runtimes as rows
from tests.standin.control_plane import ControlPlane, Told
from tests.standin.engine_proxy import EngineProxy
from tests.standin.place import Place
from tests.standin.watch import Watch

SEQUENCES = int(os.environ.get("CLAWLOOPS_FAULT_SEQUENCES", "20"))
"""Of random deeds and crashes; `tests/run faults` tries ten times as many."""
IS_LONG = SEQUENCES >= 100
WITHIN_S = 30.0
KEPT = "keep/file"

Target = Want | Sleep
"""A member's wish, or a sleep that the orchestrator decided on."""

WISHED = {Want.RUNNING: {Phase.READY}, Want.STOPPED: {Phase.STOPPED}, Want.GONE: {Phase.ABSENT}}
# What is down already is not started for a pause.
ASLEEP = {Sleep.PAUSED: {Phase.PAUSED, Phase.ASLEEP}, Sleep.STOPPED: {Phase.ASLEEP}}
DOWN: list[list[str]] = [[], ["created"], ["exited"]]


async def side_by_side(stories: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of them at once; the first that fails ends the others."""
    async with asyncio.TaskGroup() as group:
        for each in stories:
            group.create_task(each)


class Rig:
    """One install, its proxy, its control planes. `async with` begins it, and its end checks what always holds."""

    def __init__(self, client: docker.DockerClient, url: str, folder: Path, image: str) -> None:
        self.place = Place(client, url, folder, image)
        self.proxy = EngineProxy(url, folder / "engine.sock")
        self.watch = Watch(url, self.place.install_id)
        self.planes: list[ControlPlane] = []
        self._folder = folder
        self._hashes: dict[str, str] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self.place.sweep)
            stack.push_async_callback(self.place.close)
            await self.place.open()
            stack.enter_context(self.watch)
            stack.enter_context(self.proxy)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            for each in self.planes:
                await asyncio.to_thread(each.close)
            await self._stack.aclose()

    def check(self) -> None:
        """What holds at every instant, and what a crash may never change."""
        self.watch.check()
        for runtime_id, before in self._hashes.items():
            assert self._hash(runtime_id) == before, f"the workspace of {runtime_id} has changed"

    # --- control planes ------------------------------------------------------------------------------------------

    @property
    def plane(self) -> ControlPlane:
        """The newest."""
        return self.planes[-1]

    async def begin(self) -> ControlPlane:
        """Another control plane on the same data; the ones before are left as they are."""
        plane = ControlPlane(
            Told(
                install=self.place.install,
                engine=self.proxy.url,
                docker=self.place.url,
                database=f"sqlite:///{self._folder}/test.db",
                views=str(self._folder / f"plane-{len(self.planes)}.json"),
            )
        )
        self.planes.append(plane)
        async with asyncio.timeout(15):
            while not plane.begun:
                assert plane.alive, plane.log.read_text()[-3000:]
                await asyncio.sleep(0.02)
        return plane

    async def again(self) -> ControlPlane:
        """kill -9, and the next one at once."""
        for each in self.planes:
            each.close()
        return await self.begin()

    # --- members and wishes --------------------------------------------------------------------------------------

    async def member(self, want: Want = Want.RUNNING, *, boot_s: int = 0) -> Runtime:
        """A member who was here before: a workspace with something in it that must never change."""
        runtime = await self.place.member(want)
        await asyncio.to_thread(self._fill, runtime, boot_s)
        self._wake()
        return runtime

    def _fill(self, runtime: Runtime, boot_s: int) -> None:
        folder = self.workspace(runtime.id, make=True)
        (folder / KEPT).parent.mkdir()
        (folder / KEPT).write_bytes(secrets.token_bytes(100_000))
        (folder / "boot-s").write_text(f"{boot_s}\n")
        for each in (folder, folder / "keep", folder / KEPT, folder / "boot-s"):
            os.chown(each, UID, UID)
        self._hashes[runtime.id] = self._hash(runtime.id)

    def workspace(self, runtime_id: str, *, make: bool = False) -> Path:
        """Where the host keeps it."""
        name, install_id = names.volume(self.place.install_id, runtime_id), self.place.install_id
        if make:
            self.place.docker.volumes.create(name, driver="local", labels=names.labels(install_id, runtime_id))
        return Path(self.place.docker.api.inspect_volume(name)["Mountpoint"])

    def _hash(self, runtime_id: str) -> str:
        return hashlib.sha256((self.workspace(runtime_id) / KEPT).read_bytes()).hexdigest()

    async def wish(self, runtime: Runtime, target: Target) -> None:
        """Written into the store as the dashboard or the loop does, beside whoever else writes there."""
        if isinstance(target, Want):
            await self._put(runtime, want=target, sleep=Sleep.AWAKE, sleep_why="", wake_at=0)
        else:
            await self._put(runtime, want=Want.RUNNING, sleep=target, sleep_why="A test.")
        self._wake()

    async def never_used(self, runtime: Runtime) -> None:
        """As before its first start, which makes the volume; what is in it stays."""
        await self._put(runtime, volume_at=0)

    async def _put(self, runtime: Runtime, **changes: Any) -> None:
        while True:
            try:
                await rows.put(self.place.db, replace(await self.place.row(runtime), **changes))
            except Conflict:
                await asyncio.sleep(0)
            else:
                return

    def _wake(self) -> None:
        for each in self.planes:
            each.wake_all()

    # --- what is true --------------------------------------------------------------------------------------------

    async def wanted(self, runtime: Runtime, target: Target, *, within_s: float = WITHIN_S) -> float:
        """Wait until Docker has what is wanted and the newest control plane says so. Returns the seconds it took."""
        began, missing = time.monotonic(), "nothing was seen"
        while time.monotonic() - began < within_s:
            missing = await self.missing(runtime, target)
            if not missing:
                return time.monotonic() - began
            await asyncio.sleep(0.1)
        raise AssertionError(f"{target} not reached after {within_s} s: {missing}\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.plane.log.read_text().splitlines()[-40:])

    async def shown(self, runtime: Runtime, phase: Phase, *, within_s: float = WITHIN_S) -> str:
        """Wait until the newest control plane shows this phase. Returns the reason that it gives."""
        began = time.monotonic()
        while time.monotonic() - began < within_s:
            now, reason = self.plane.view(runtime.id)
            if now is phase:
                return reason
            await asyncio.sleep(0.02)
        raise AssertionError(f"{phase} not shown after {within_s} s, but {self.plane.view(runtime.id)}\n{self._tail()}")

    async def missing(self, runtime: Runtime, target: Target) -> str:
        """What is not yet as wanted, "" when nothing is."""
        phase, reason = self.plane.view(runtime.id)
        # Two tables, because two StrEnums with the same text are equal.
        if phase not in (WISHED[target] if isinstance(target, Want) else ASLEEP[target]):
            return f"shown as {phase} {reason}"
        return await asyncio.to_thread(self._unlike, runtime, target) or await self._unreached(runtime, target)

    def _unlike(self, runtime: Runtime, target: Target) -> str:
        place = self.place
        try:
            found = place.containers(runtime)
            networks = [each for each in place.docker.networks.list() if each.name == place.name(runtime)]
        except (docker.errors.DockerException, OSError) as error:
            return f"Docker does not answer: {error}"
        states = [each.status for each in found]
        match target:
            case Want.RUNNING:
                if states != ["running"] or len(networks) != 1:
                    return f"{states} {networks}"
                on = list(found[0].attrs["NetworkSettings"]["Networks"])
                memory = found[0].attrs["HostConfig"]["Memory"] // 2**20
                made = found[0].name, on, memory
                asked = place.name(runtime), [place.name(runtime)], place.install.memory_mb
                return "" if made == asked else f"{made} and not {asked}"
            case Want.GONE:
                files = (self._folder / "runtimes" / runtime.id).exists()
                return "" if not (states or networks or files) else f"{states} {networks} files: {files}"
            case Sleep.PAUSED:
                return "" if states in [*DOWN, ["paused"]] else f"{states}"
            case _:
                return "" if states in DOWN else f"{states}"

    async def _unreached(self, runtime: Runtime, target: Target) -> str:
        address = names.addresses(runtime.subnet).runtime
        return "" if target is not Want.RUNNING or await self.place.probe(address) else f"{address} does not answer"
