"""Whether the runtime image is on this host, and what it is. Images are never pulled from here."""

from __future__ import annotations

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
