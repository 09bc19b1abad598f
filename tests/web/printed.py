"""Stands for the Engine where no Docker is: what containers have printed, by runtime id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from clawloops.runtimes.client import EngineMissing
from clawloops.runtimes.logs import Entry

T = TypeVar("T")

BEGAN = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)


class Printed:
    def __init__(self) -> None:
        self.containers: dict[str, str] = {}
        self.entries: dict[str, list[Entry]] = {}
        self.reads = 0
        self.fails: Exception | None = None

    def say(self, runtime_id: str, *lines: str | bytes, container: str = "c1", is_error: bool = False) -> None:
        """Print lines, a second apart. Another container than before begins another log."""
        if self.containers.get(runtime_id) != container:
            self.containers[runtime_id], self.entries[runtime_id] = container, []
        known = self.entries[runtime_id]
        for line in lines:
            at = f"{BEGAN + timedelta(seconds=len(known)):%Y-%m-%dT%H:%M:%S}.000000001Z"
            known.append(Entry(at, is_error, line.encode() if isinstance(line, str) else line, is_cut=False))

    async def read(self, runtime_id: str, entries: int, work: Callable[[str, Iterator[Entry]], T]) -> T:
        self.reads += 1
        if self.fails is not None:
            raise self.fails
        if runtime_id not in self.containers:
            raise EngineMissing("no such container", status=404)
        some = list(self.entries[runtime_id][-entries:])
        return await asyncio.to_thread(work, self.containers[runtime_id], iter(some))


async def no_secrets(_: str) -> list[str]:
    """Of somebody whose workspace was given none."""
    return []
