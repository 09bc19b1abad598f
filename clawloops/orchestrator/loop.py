"""Makes every runtime what its row says, whatever crashed in between. Events only wake it; a lost one costs 30 s."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError, Unavailable
from clawloops.model.decoy import DecoyKeys
from clawloops.model.runtime import Policy, Runtime, Sleep, Want
from clawloops.model.workspace import HISTORY_DAYS
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.admission import EVERY_S, Gate
from clawloops.orchestrator.ask import Control
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.execute import Hands, Tokens
from clawloops.orchestrator.keeper import RESYNC_S, Keeper
from clawloops.orchestrator.means import Means
from clawloops.orchestrator.phase import SLOW_BOOT_MS
from clawloops.orchestrator.probe import Probe
from clawloops.orchestrator.roller import Roller
from clawloops.orchestrator.sleep import Rules
from clawloops.orchestrator.turns import Turns
from clawloops.orchestrator.walls import Walls
from clawloops.runtimes import events
from clawloops.runtimes.client import Engine
from clawloops.runtimes.images import Images
from clawloops.runtimes.sandboxes import Sandboxes
from clawloops.runtimes.spec import Install
from clawloops.runtimes.strangers import Known, Stranger, find
from clawloops.store import events as history_rows
from clawloops.store import jobs as job_rows
from clawloops.store import runtimes as rows
from clawloops.store import volumes as volume_rows
from clawloops.store.db import Database
from clawloops.store.seal import Sealer

_log = logging.getLogger(__name__)

TIDY_S = 3600.0
STRANGERS_S = 60.0
PRESS_AGAIN_S = 60.0  # one that is busy after all is not asked again before
USED_LATELY_MS = 60_000  # whoever was used since is not asked to make room
_DAY_MS = 86_400_000


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
        control: Control,
        rules: Rules,
        gate: Gate,
        decoys: DecoyKeys,
        sealer: Sealer,
        board: Board | None = None,
        walls: Walls | None = None,
        trial_ms: int = SLOW_BOOT_MS,
    ) -> None:
        self.board = board or Board()
        self.activity = Activity()
        self.gate = gate
        self.walls = walls or Walls()
        self.strangers: Sequence[Stranger] = ()  # as of the last minute; told to an admin, never touched
        self._hands = Hands(db, engine, directory, install, Images(engine), decoys, Sandboxes(engine), sealer)
        self._means = Means(
            self._hands, self.board, probe, control, self.activity, gate, rules, self.walls,
            Turns(self.activity.is_wanted), trial_ms,
        )  # fmt: skip
        self.roller = Roller(self._hands, self.walls, self.wake)
        self._all = asyncio.Event()
        self._keepers: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._pressed: dict[str, float] = {}  # who was asked to make room, and when (monotonic seconds)

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
            asyncio.create_task(self.roller.run(), name="rollout"),
            asyncio.create_task(self._every(EVERY_S, self._make_room), name="make-room"),
            asyncio.create_task(self._every(TIDY_S, self._tidy), name="tidy"),
            asyncio.create_task(self._every(STRANGERS_S, self._find_strangers), name="strangers"),
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
        self._keeper(runtime_id).wake()

    async def rouse(self, runtime_id: str, why: str) -> None:
        """End its sleep: a paused runtime goes on before this returns. `why`: a sentence for its page."""
        await self._keeper(runtime_id).rouse(why)

    def _keeper(self, runtime_id: str) -> Keeper:
        known = self._keepers.get(runtime_id)
        if known is not None and not known[1].done():
            return known[0]
        keeper = Keeper(runtime_id, self._means)
        # Not in the context of the request that woke it: what it logs later is not about that request.
        task = asyncio.create_task(keeper.run(), name=f"keep {runtime_id}", context=contextvars.Context())
        self._keepers[runtime_id] = (keeper, task)
        return keeper

    def wake_all(self) -> None:
        """Look at all of them soon: models or settings were changed. Never blocks."""
        self._all.set()

    def look(self) -> None:
        """Look soon at all of them, and at who is to be moved to another image. Never blocks."""
        self.wake_all()
        self.roller.look()

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

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again and again, whatever becomes of it: the next time may go better."""
        while True:
            try:
                await work()
            except (ClawLoopsError, OSError) as error:
                _log.warning("%s: %s", work.__name__, error)
            except Exception:  # noqa: BLE001  # a loop that ends is missed by nobody until it is needed
                _log.exception("%s", work.__name__)
            await asyncio.sleep(seconds)

    async def _make_room(self) -> None:
        """While the box is short of memory, the one that was idle longest sleeps deeper: one at a time."""
        if self.gate.short_of_memory() and (chosen := self._idle_longest(await rows.all(self._hands.db))):
            _log.info("runtime %s: the box is short of memory", chosen.id)
            self._pressed[chosen.id] = time.monotonic()
            self._keeper(chosen.id).press()

    def _idle_longest(self, runtimes: list[Runtime]) -> Runtime | None:
        idle = {each.id: self.activity.idle_ms(each.id) for each in runtimes}
        may = [
            each
            for each in runtimes
            if each.want is Want.RUNNING
            and each.policy is not Policy.ALWAYS_ON
            and each.sleep is not Sleep.STOPPED
            and (each.sleep is Sleep.PAUSED or idle[each.id] > USED_LATELY_MS)
            and self.board.get(each.id).address is not None  # it holds memory
            and time.monotonic() - self._pressed.get(each.id, -PRESS_AGAIN_S) >= PRESS_AGAIN_S
        ]
        return max(may, key=lambda each: (each.sleep is Sleep.PAUSED, idle[each.id]), default=None)

    async def _find_strangers(self) -> None:
        async def known() -> Known:
            runtimes = await rows.all(self._hands.db)
            numbers = await volume_rows.numbers(self._hands.db) | {(each.id, each.volume) for each in runtimes}
            return Known(frozenset(each.id for each in runtimes), frozenset(numbers))

        self.strangers = await find(self._hands.engine, self._hands.install.install_id, known)

    async def _tidy(self) -> None:
        before = now_ms() - HISTORY_DAYS * _DAY_MS
        await history_rows.sweep(self._hands.db, before)
        await job_rows.sweep(self._hands.db, before)
