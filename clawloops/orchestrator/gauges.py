"""How busy the host is, every few seconds; and who on it uses what, while somebody looks."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError
from clawloops.model.gauge import Disk, Graphics, Moment, Share, Ticks, Usage, shares, sizes, ticks
from clawloops.orchestrator.gpus import Gpus

_log = logging.getLogger(__name__)

EVERY_S = 5.0
KEPT = 120  # moments: ten minutes
WATCHED_S = 20.0  # after the last look, nobody looks any more
_ALL = "*"
NOT_YET = "Not looked at yet."


class Gauges:
    """`data`: the folder of ours. `measure`: what running containers have used, those of some runtimes or, of none, all
    of them; raises ClawLoopsError.

    In a container, /proc tells of the whole host, and its own root lies on the disk that Docker keeps its data on
    (overlayfs answers statfs(2) for the file system below it).
    """

    def __init__(
        self,
        *,
        data: Path,
        measure: Callable[[Collection[str]], Awaitable[Sequence[Usage]]],
        gpus: Gpus | None = None,
        proc: Path = Path("/proc"),
        root: Path = Path("/"),
    ) -> None:
        self.history: deque[Moment] = deque(maxlen=KEPT)
        self.disks: Sequence[Disk] = ()
        self.shares: Sequence[Share] = ()
        self.graphics = Graphics(why=NOT_YET)
        self.trouble = ""  # why there are no shares
        self._places = (("Data of ClawLoops", data), ("Data of Docker", root))
        self._measure = measure
        self._gpus = gpus or Gpus()
        self._proc = proc
        self._before: Ticks | None = None
        self._usages: Mapping[str, Usage] = {}
        self._looks: dict[str, float] = {}  # when somebody last looked, at a runtime or (_ALL) at everything
        self._watched = asyncio.Event()

    def watch(self, runtime_id: str = _ALL) -> None:
        """Somebody looks: for the next seconds, containers and cards are, too; or one runtime alone. Never blocks."""
        self._looks[runtime_id] = time.monotonic()
        self._watched.set()

    async def run(self) -> None:
        """Endless. A part that does not answer holds up nothing but itself."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self.look))
            group.create_task(self._again(self._look_closely))
            group.create_task(self._again(self._look_at_cards))

    async def look(self) -> None:
        """Read the host now."""
        moment, self.disks = await asyncio.to_thread(self._read)
        self.history.append(moment)

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (OSError, ValueError, LookupError) as error:  # a /proc that is none of Linux's
                _log.warning("gauges: %s", error)
            except Exception:  # noqa: BLE001  # a gauge that stands still is missed by nobody until it is needed
                _log.exception("gauges")
            await asyncio.sleep(EVERY_S)

    async def _until_watched(self, what: str = "") -> frozenset[str]:
        """What is looked at now; waits until anything is, or `what` is."""
        while not (now := self._watched_now()) or (what and what not in now):
            self._watched.clear()
            await self._watched.wait()
        return now

    def _watched_now(self) -> frozenset[str]:
        since = time.monotonic() - WATCHED_S
        self._looks = {each: at for each, at in self._looks.items() if at > since}
        return frozenset(self._looks)

    async def _look_closely(self) -> None:
        watched = await self._until_watched()
        try:
            usages = await self._measure(() if _ALL in watched else watched)
        except ClawLoopsError as error:
            self.shares, self.trouble = (), str(error)
            return
        self.shares, self.trouble = shares(usages, self._usages), ""
        self._usages = {each.container: each for each in usages}

    async def _look_at_cards(self) -> None:
        await self._until_watched(_ALL)
        self.graphics = await asyncio.to_thread(self._gpus.look)

    def _read(self) -> tuple[Moment, list[Disk]]:
        now, memory = ticks((self._proc / "stat").read_text()), sizes((self._proc / "meminfo").read_text())
        cpu = now.share_since(self._before) if self._before else 0.0
        self._before = now
        moment = Moment(
            at=now_ms(),
            cpu=cpu,
            cores=now.cores,
            load=float((self._proc / "loadavg").read_text().split()[0]),
            memory=memory["MemTotal"],
            memory_used=memory["MemTotal"] - memory["MemAvailable"],
            swap=memory.get("SwapTotal", 0),
            swap_used=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        )
        return moment, self._disks()

    def _disks(self) -> list[Disk]:
        found: list[Disk] = []
        for name, place in self._places:
            told = os.statvfs(place)
            disk = Disk(name, told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize)
            if found and (found[0].size, found[0].free) == (disk.size, disk.free):
                return [Disk("Data of ClawLoops and of Docker", disk.size, disk.free)]
            found.append(disk)
        return found
