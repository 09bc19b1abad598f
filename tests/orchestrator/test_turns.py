"""Who is looked at first, where all are to be looked at."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.orchestrator.turns import Turns


class Queue:
    """Runtimes that note when their turn came, and keep it until they are told."""

    def __init__(self, *, most: int) -> None:
        self.wanted: set[str] = set()
        self.turns = Turns(lambda each: each in self.wanted, most=most)
        self.began: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._look(name))
            await asyncio.sleep(0)

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self.tasks[name]
        await asyncio.sleep(0)

    async def _look(self, name: str) -> None:
        async with self.turns.of(name):
            self.began.append(name)
            await self._ends[name].wait()


async def test_whoever_somebody_waits_for_goes_first_and_then_who_came_first() -> None:
    queue = Queue(most=2)
    await queue.come(*"abcde")
    assert queue.began == ["a", "b"]
    queue.wanted.add("d")  # somebody came while it waited
    await queue.end("b")
    await queue.end("a")
    assert queue.began == ["a", "b", "d", "c"]
    for name in "dce":
        await queue.end(name)
    assert queue.began == ["a", "b", "d", "c", "e"]
    await queue.come(*"fgh")
    assert queue.began[5:] == ["f", "g"]


@pytest.mark.faults
async def test_who_leaves_takes_no_turn_along() -> None:
    queue = Queue(most=1)
    await queue.come(*"abc")
    queue.tasks["b"].cancel()
    await asyncio.sleep(0)
    await queue.end("a")
    assert queue.began == ["a", "c"]
    await queue.come("d")
    queue._ends["c"].set()  # c ends, d is given the turn, and is cut at that very moment
    await asyncio.sleep(0)
    queue.tasks["d"].cancel()
    await asyncio.gather(*queue.tasks.values(), return_exceptions=True)
    await queue.come("e")
    assert queue.began[-1] == "e"
