"""Makes every runtime what its row says, whatever crashed in between. Events only wake it; a lost one costs 30 s."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging

from clawloops.errors import Unavailable
from clawloops.model.runtime import Want
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.execute import Hands, Tokens
from clawloops.orchestrator.keeper import RESYNC_S, Keeper
from clawloops.orchestrator.probe import Probe
from clawloops.runtimes import events
from clawloops.runtimes.client import Engine
from clawloops.runtimes.spec import Install
from clawloops.store import runtimes as rows
from clawloops.store.db import Database

_log = logging.getLogger(__name__)


class Orchestrator:
    """One keeper per runtime, the event stream, and the resync. `board` is what everybody else reads."""

    def __init__(
        self,
        db: Database,
        engine: Engine,
        directory: Tokens,
        *,
        install: Install,
        probe: Probe,
        board: Board | None = None,
    ) -> None:
        self.board = board or Board()
        self._hands = Hands(db, engine, directory, install)
        self._probe = probe
        self._all = asyncio.Event()
        self._keepers: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Admit the tokens of the runtimes that may be running, then begin. Waits for the store, not for Docker."""
        for runtime in await rows.all(self._hands.db):
            self.board.know(runtime)
            if runtime.want is not Want.GONE:
                self._hands.admit(runtime)
        self._all.set()
        self._tasks = [
            asyncio.create_task(self._resync(), name="resync"),
            asyncio.create_task(self._watch(), name="docker-events"),
        ]

    async def stop(self) -> None:
        """Stop looking. Runtimes go on; Docker calls under way end by themselves."""
        tasks = [*self._tasks, *(task for _, task in self._keepers.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._keepers.clear()

    def wake(self, runtime_id: str) -> None:
        """Look at this runtime soon: its row was changed, or something happened to it. Never blocks."""
        known = self._keepers.get(runtime_id)
        if known is not None and not known[1].done():
            known[0].wake()
            return
        keeper = Keeper(runtime_id, self._hands, self.board, self._probe)
        # Not in the context of the request that woke it: what it logs later is not about that request.
        task = asyncio.create_task(keeper.run(), name=f"keep {runtime_id}", context=contextvars.Context())
        self._keepers[runtime_id] = (keeper, task)

    def wake_all(self) -> None:
        """Look at all of them soon: models or settings were changed. Never blocks."""
        self._all.set()

    async def _resync(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESYNC_S):
                    await self._all.wait()
            self._all.clear()
            try:
                for runtime in await rows.all(self._hands.db):
                    self.wake(runtime.id)
            except Unavailable as error:
                _log.warning("resync: %s", error)
            except Exception:  # noqa: BLE001  # the resync is what everything else falls back on
                _log.exception("resync")

    async def _watch(self) -> None:
        async for look in events.watch(self._hands.engine, self._hands.install.install_id):
            if look.runtime_id is None:
                self._all.set()
            else:
                self.wake(look.runtime_id)
