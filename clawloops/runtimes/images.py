"""Whether the runtime image is on this host, and what it is. Images are never pulled from here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

from clawloops.runtimes.client import Engine, EngineMissing
from clawloops.runtimes.drift import OWN_LABELS
from clawloops.runtimes.seen import Image
from clawloops.runtimes.spec import Install


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


async def unused(engine: Engine, install: Install, used: Collection[str]) -> list[str]:
    """Tags of OpenClaw's images on this host that are neither the install's own nor in `used`."""
    rows = await engine.call(lambda api: api.images())
    found = {str(tag) for row in rows for tag in row.get("RepoTags") or () if install.may_run(tag)}
    mine = {_tagged(each) for each in (install.image, *used)}
    return sorted(found - mine)


async def remove(engine: Engine, tag: str) -> None:
    """Remove one that no container uses; gone already is fine. EngineRefused (409): one does."""
    try:
        await engine.call(lambda api: api.remove_image(tag))
    except EngineMissing:
        return


def _tagged(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"


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
