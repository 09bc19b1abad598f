"""Whether the runtime image is on this host, and what it is. Images are never pulled from here."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from clawloops.runtimes.client import Engine, EngineMissing
from clawloops.runtimes.drift import OWN_LABELS
from clawloops.runtimes.seen import Image


async def look(engine: Engine, image: str) -> Image | None:
    """What `image` (a tag or an id) is on this host now; None when the Engine has no such image."""
    try:
        row: dict[str, Any] = await engine.call(lambda api: api.inspect_image(image))  # type: ignore[no-untyped-call]
    except EngineMissing:
        return None
    config = row.get("Config") or {}
    labels = config.get("Labels") or {}
    return Image(row["Id"], tuple(sorted(name for name in labels if name.lower().startswith(OWN_LABELS))), config)


async def present(engine: Engine, image: str) -> bool:
    """Whether the Engine can make a container of `image` now."""
    return await look(engine, image) is not None


class Images:
    """`look`, asked once for all who want to know within `fresh_s` seconds; a failure is not kept."""

    def __init__(self, engine: Engine, *, fresh_s: float = 5.0) -> None:
        self._engine = engine
        self._fresh_s = fresh_s
        self._asked: dict[str, tuple[float, asyncio.Task[Image | None]]] = {}

    async def look(self, image: str) -> Image | None:
        """What `image` is on this host now, or was at most `fresh_s` seconds ago. Raises EngineUnavailable."""
        now = time.monotonic()
        asked_at, task = self._asked.get(image, (0.0, None))
        failed = task is not None and task.done() and (task.cancelled() or task.exception() is not None)
        if task is None or failed or (task.done() and now - asked_at > self._fresh_s):
            self._asked = {name: ask for name, ask in self._asked.items() if now - ask[0] <= self._fresh_s}
            task = asyncio.create_task(look(self._engine, image), name=f"look at image {image}")
            self._asked[image] = (now, task)
        return await asyncio.shield(task)  # whoever gives up takes the answer from nobody else
