"""Who may start now: a boot costs a core for ten seconds and a gigabyte, so starts are staggered and counted.

A start that finds no room waits in a queue, first come first served, and the runtime that was idle longest is asked to
make room. The kernel's OOM killer never has to decide.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
BOOT_MB = 1024  # what OpenClaw holds after its start (measured: 650 to 900 MiB)
SPARE_MB = 512  # never given to a runtime: the appliance and the kernel live on it
SPARE_DISK_MB = 1024
EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Box:
    """What the host has left. MiB."""

    memory_mb: int
    disk_mb: int
    swap_mb: int


def look(data: Path, meminfo: Path = MEMINFO) -> Box:
    """Read it now (format: proc(5), /proc/meminfo in KiB; the disk is the one that DATA lies on). Raises OSError."""
    lines = (line.split() for line in meminfo.read_text().splitlines())
    found = {words[0].rstrip(":"): int(words[1]) // 1024 for words in lines if len(words) > 1 and words[1].isdigit()}
    return Box(
        memory_mb=found["MemAvailable"],
        disk_mb=shutil.disk_usage(data).free // 2**20,
        swap_mb=found.get("SwapFree", 0),
    )


def at_once(cores: int | None = None) -> int:
    """Boots at the same time: each is bound by the CPU for about ten seconds."""
    return max(1, (cores or len(os.sched_getaffinity(0))) // 2)


@dataclass(slots=True)
class _Asker:
    need_mb: int
    admitted: bool = False


class Gate:
    """Asked before each start. Not for threads; nothing here waits."""

    def __init__(self, look: Callable[[], Box], *, slots: int) -> None:
        self._look = look
        self._slots = slots
        self._askers: dict[str, _Asker] = {}  # in the order in which they came
        self._seen: tuple[float, Box] | None = None

    def ask(self, runtime_id: str, *, memory_mb: int) -> str:
        """Why it has to wait, or "" when it may start now; it then holds its place until `leave`."""
        need = min(memory_mb, BOOT_MB)
        asker = self._askers.setdefault(runtime_id, _Asker(need))
        if asker.admitted:
            return ""
        if next(iter(self._waiting())) != runtime_id:
            return "others are starting first"
        if sum(each.admitted for each in self._askers.values()) >= self._slots:
            return "others are starting first"
        box = self.box()
        if box.disk_mb < SPARE_DISK_MB:
            return f"the disk of this box has only {box.disk_mb} MiB left; an administrator makes room on it"
        if self.free_mb(box) < need:
            return f"this box has {box.memory_mb} MiB of memory left; it starts when idle workspaces have made room"
        asker.admitted = True
        self._seen = None
        return ""

    def leave(self, runtime_id: str) -> None:
        """It is ready, has failed, or is not wanted any more."""
        self._askers.pop(runtime_id, None)

    def place(self, runtime_id: str) -> tuple[int, int] | None:
        """Where it stands among those that wait, from 1, and how many they are; None when it does not wait."""
        waiting = list(self._waiting())
        return (waiting.index(runtime_id) + 1, len(waiting)) if runtime_id in waiting else None

    def queue(self) -> list[str]:
        """Who waits, first come first."""
        return list(self._waiting())

    def short_of_memory(self) -> bool:
        """Whether somebody should make room: a start waits for memory, or the spare is being used up."""
        box = self.box()
        first = next(iter(self._waiting()), None)
        return box.memory_mb < SPARE_MB or (first is not None and self.free_mb(box) < self._askers[first].need_mb)

    def free_mb(self, box: Box) -> int:
        """Memory that a start may count on: what the booting ones have not taken yet is not free."""
        promised = sum(each.need_mb for each in self._askers.values() if each.admitted)
        return box.memory_mb - promised - SPARE_MB

    def box(self) -> Box:
        """What the host has left, read at most once a second."""
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] > 1.0:
            self._seen = (now, self._look())
        return self._seen[1]

    def _waiting(self) -> Iterable[str]:
        return (runtime_id for runtime_id, asker in self._askers.items() if not asker.admitted)
