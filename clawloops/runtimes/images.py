"""Whether the runtime image is on this host. Images are never pulled from here."""

from __future__ import annotations

from clawloops.runtimes.client import Engine, EngineMissing


async def present(engine: Engine, image: str) -> bool:
    """Whether the Engine can make a container of `image` now."""
    try:
        await engine.call(lambda api: api.inspect_image(image))  # type: ignore[no-untyped-call]
    except EngineMissing:
        return False
    return True
