"""How often a runtime failed in a row, as its row keeps it: each failure makes the next try wait longer."""

from __future__ import annotations

import random

from clawloops.clock import now_ms
from clawloops.model.runtime import Runtime
from clawloops.orchestrator.history import History
from clawloops.orchestrator.plan import backoff_ms
from clawloops.store import runtimes as rows
from clawloops.store.db import Database


class Failures:
    def __init__(self, db: Database, history: History) -> None:
        self._db = db
        self._history = history

    async def count(self, desired: Runtime, reason: str) -> Runtime:
        failures = desired.failures + 1
        wait = backoff_ms(failures, jitter=random.random())  # noqa: S311  # spreads retries, keeps no secret
        await self._history.note("failed", reason)
        return await rows.set_failure(self._db, desired.id, failures, reason, now_ms() + wait)

    async def forget(self, desired: Runtime) -> Runtime:
        if not desired.failures:
            return desired
        return await rows.set_failure(self._db, desired.id, 0, "", 0)
