"""Whether this host has the sandbox that runtimes are to run in; it may come and go with the Engine's settings."""

from __future__ import annotations

import asyncio
import time

from clawloops.model.runtime import Sandbox
from clawloops.runtimes.client import Engine

MISSING = (
    "workspaces are to run in gVisor, and the Docker Engine of this host has no runtime named runsc; an administrator "
    "installs it (docs/operations.md, The sandbox), or sets CLAWLOOPS_SANDBOX=runc and runs ./install.sh"
)


async def present(engine: Engine, sandbox: Sandbox) -> bool:
    """Whether the Engine can start a container in it now. Raises EngineUnavailable."""
    if sandbox is Sandbox.RUNC:
        return True
    told = await engine.call(lambda api: api.info())
    return sandbox.value in (told.get("Runtimes") or {})


class Sandboxes:
    """`present`, asked once for all who want to know within `fresh_s` seconds; a failure is not kept."""

    def __init__(self, engine: Engine, *, fresh_s: float = 5.0) -> None:
        self._engine = engine
        self._fresh_s = fresh_s
        self._known: dict[Sandbox, tuple[float, bool]] = {}
        self._asking = asyncio.Lock()

    async def present(self, sandbox: Sandbox) -> bool:
        """Whether it is there now, or was at most `fresh_s` seconds ago. Raises EngineUnavailable."""
        async with self._asking:
            asked_at, found = self._known.get(sandbox, (float("-inf"), False))
            if time.monotonic() - asked_at > self._fresh_s:
                found = await present(self._engine, sandbox)
                self._known[sandbox] = (time.monotonic(), found)
            return found
