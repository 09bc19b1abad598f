"""Tasks beside the listeners, for as long as the process lives, and the watch over the network that it lives in."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

ALONE_EVERY_S = 2
ROUTES = Path("/proc/net/route")


def calm_collector() -> None:
    """Once all is built: what lives for ever is no longer searched for cycles, and what calls leave is seldom.

    Calls leave none (a test of `wire` holds that); the usual threshold of 700 objects is that of three calls.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class Background:
    """Tasks that live as long as the process; one that ends by an error is logged."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        stack.push_async_callback(self._end)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task ended: %s", error, exc_info=error)

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def alone(stopping: asyncio.Event) -> None:
    """Stop when no route is left: the edge container has died, and this namespace leads nowhere any more."""
    while True:
        await asyncio.sleep(ALONE_EVERY_S)
        if not _has_routes():
            log.error("the edge container is gone: stopping, so that a restart joins the new one")
            stopping.set()


def _has_routes() -> bool:
    """The file has a heading, and a line for each route but loopback's (proc(5))."""
    return len(ROUTES.read_text().splitlines()) > 1
