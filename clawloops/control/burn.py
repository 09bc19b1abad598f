"""The burn guard: a runtime that goes in circles on its own has its background calls held until somebody resumes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import ClawLoopsError
from clawloops.gateway.circles import Circles
from clawloops.model.account import User
from clawloops.model.runtime import Runtime
from clawloops.store import held
from clawloops.store.db import Database

log = logging.getLogger(__name__)


class BurnGuard:
    def __init__(self, db: Database, audit: Audit, *, keep: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """`keep` runs something beside the calls."""
        self._db = db
        self._audit = audit
        self.circles = Circles(on_held=lambda runtime_id, why: keep(self._note(runtime_id, why)))

    async def load(self) -> None:
        """Go on holding those that were held before a restart."""
        for runtime_id, why in (await held.all(self._db)).items():
            self.circles.hold(runtime_id, why)

    def why(self, runtime_id: str) -> str:
        """Why its background calls are held; "" where they are not."""
        return self.circles.why(runtime_id)

    async def resume(self, runtime: Runtime, *, by: User) -> None:
        """Let its background calls through again. `runtime` is one that `by` may change."""
        await held.delete(self._db, runtime.id)
        self.circles.release(runtime.id)
        await self._audit.record(by.id, "background calls resumed", runtime.id)

    async def _note(self, runtime_id: str, why: str) -> None:
        log.warning("background calls of runtime %s are held: %s", runtime_id, why)
        try:
            await held.put(self._db, runtime_id, why, now_ms())
            await self._audit.record(None, "background calls held", runtime_id, why)
        except ClawLoopsError as error:
            log.error("that they are held is forgotten at the next start: %s", error)
