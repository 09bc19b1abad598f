"""A place with its standing canary: the watch runs as in the control plane, seen from the edge's network namespace."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clawloops.model.runtime import Runtime
from clawloops.orchestrator.canary import Watch
from clawloops.orchestrator.surroundings import Surroundings, forwarding
from clawloops.orchestrator.walls import Verdict, Walls
from clawloops.runtimes import names
from tests.standin.namespace import dial_from, entered, socket_in
from tests.standin.parts import edge_pid
from tests.standin.place import Place


@dataclass
class Watched:
    place: Place
    pid: int  # of the edge
    notes: list[tuple[str, str, str]] = field(default_factory=list)  # what the audit is told
    door: asyncio.Server | None = None
    _task: asyncio.Task[None] | None = None

    @property
    def around(self) -> Surroundings:
        net, place = Path(f"/proc/{self.pid}/net"), self.place
        return Surroundings(install=place.install, pool=place.pool, net=net, forwarding=self._forwards)

    @property
    def address(self) -> str:
        """The canary's."""
        return names.addresses(self.around.subnet).runtime

    async def open_door(self) -> None:
        """Somebody listens where the model gateway does."""
        listener = socket_in(self.pid)
        listener.bind(("0.0.0.0", self.place.install.gateway_port))
        self.door = await asyncio.start_server(lambda reader, writer: writer.close(), sock=listener)

    async def close_door(self) -> None:
        if self.door is not None:
            self.door.close()
            await self.door.wait_closed()

    def begin(self) -> None:
        """The watch of a new control plane. Its orchestrator is begun with `place.orchestrate()`."""
        place = self.place
        place.walls = Walls(lambda *entry: self.notes.append(entry))
        watch = Watch(
            place.db, place.engine, place.walls, self.around, wake_all=self._wake_all, dial=dial_from(self.pid)
        )
        self._task = asyncio.create_task(watch.run())

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.place.loop is not None:
            await self.place.loop.stop()

    async def until(self, verdict: Verdict, *, seconds: float = 30) -> str:
        """Wait for a test that begins after now and ends so. Returns its why."""
        walls = self.place.walls
        before = walls.last
        await self.wait(lambda: walls.last is not before, seconds)  # the one that is under way
        under_way = walls.last
        await self.wait(lambda: walls.last is not under_way and walls.last.verdict is verdict, seconds)
        return walls.last.why

    async def ended(self, runtime: Runtime) -> None:
        """Wait until nothing of it runs any more: it has ten seconds to end by itself."""
        await self.wait(lambda: self.place.container(runtime).status == "exited", 15)

    async def wait(self, done: Callable[[], bool], seconds: float = 30) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise AssertionError(f"after {seconds} s: {self.place.walls.last}, {self.notes}") from error

    def container(self) -> Any:
        return self.place.docker.containers.get(names.container(self.place.install_id, names.CANARY))

    def process(self) -> int:
        """The canary's own, below its init."""
        init = self.container().attrs["State"]["Pid"]
        return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])

    def network(self, runtime_id: str = names.CANARY) -> Any:
        return self.place.docker.networks.get(names.network(self.place.install_id, runtime_id))

    def bridge(self) -> str:
        """The host's interface of the canary's network."""
        return f"br-{self.network().id[:12]}"

    def _forwards(self) -> list[str]:
        with entered(self.pid):
            return forwarding()

    def _wake_all(self) -> None:
        if self.place.loop is not None:
            self.place.loop.wake_all()


@asynccontextmanager
async def watched_place(place: Place) -> AsyncIterator[Watched]:
    pid = await edge_pid(place.docker, place.install.edge)
    assert pid is not None
    made = Watched(place, pid)
    await made.open_door()
    try:
        yield made
    finally:
        await made.end()
        await made.close_door()


def on_host(*command: str) -> None:
    """Change this host, as its root."""
    subprocess.run(command, check=True, capture_output=True, text=True)
