"""Publish/subscribe inside the process, bounded: a slow subscriber loses its oldest items, and slows nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Bus(Generic[T]):
    """Items by topic. Subscribers must treat an item as "look again", because older ones may have been dropped."""

    def __init__(self, *, depth: int = 64) -> None:
        self._depth = depth
        self._queues: dict[str, set[asyncio.Queue[T]]] = {}

    def publish(self, topic: str, item: T) -> None:
        """Hand `item` to everybody subscribed to `topic` now. Never blocks."""
        for queue in self._queues.get(topic, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(item)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[AsyncIterator[T]]:
        """An endless stream of what is published from now on; leaving the block unsubscribes."""
        queue: asyncio.Queue[T] = asyncio.Queue(self._depth)
        self._queues.setdefault(topic, set()).add(queue)
        try:
            yield _drain(queue)
        finally:
            rest = self._queues[topic]
            rest.discard(queue)
            if not rest:
                del self._queues[topic]


async def _drain(queue: asyncio.Queue[T]) -> AsyncIterator[T]:
    while True:
        yield await queue.get()
