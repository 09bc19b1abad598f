"""Keeps one runtime as it is wanted: look, plan, one step, look again. Survives every failure, and tells of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError, EngineRefused, Unavailable
from clawloops.model.runtime import Phase, Runtime, View, Want
from clawloops.orchestrator import phase as phases
from clawloops.orchestrator.board import Board, Opening
from clawloops.orchestrator.execute import EdgeMissing, Hands, execute, observe
from clawloops.orchestrator.plan import Action, Start, Stop, World, backoff_ms, keep, plan, waiting
from clawloops.orchestrator.probe import Probe
from clawloops.runtimes import names
from clawloops.runtimes.client import EngineMissing
from clawloops.runtimes.seen import Container, State
from clawloops.runtimes.spec import create_body, spec_hash
from clawloops.store import runtimes as rows

_log = logging.getLogger(__name__)

RESYNC_S = 30.0
POLL_S = 0.25  # between two probes of a runtime that boots
AGAIN_S = 2.0  # after the Engine or the database did not answer
STABLE_MS = 600_000  # ready for so long: earlier failures are forgotten


class Keeper:
    """One task per runtime, so nothing here ever happens twice at the same time."""

    def __init__(self, runtime_id: str, hands: Hands, board: Board, probe: Probe) -> None:
        self._id = runtime_id
        self._hands = hands
        self._board = board
        self._probe = probe
        self._woken = asyncio.Event()
        self._opening = Opening()
        self._sigterm: dict[str, int] = {}  # container id -> when it was sent SIGTERM, monotonic ms
        self._ours_up: str | None = None  # container that we saw or brought up, and that has no reason to end
        self._run = ""  # one start of one container
        self._run_began = 0
        self._ready = False
        self._address: str | None = None  # where to probe while it boots
        self._missed = False  # the last step found gone what the look before it had seen
        self._obstacle: str | None = None  # why the last step was refused; None: no look yet

    def wake(self) -> None:
        """Look again soon. Many calls before that are one."""
        self._woken.set()

    async def run(self) -> None:
        """Until the runtime is gone with all its parts; cancelling is safe at every point."""
        while True:
            self._woken.clear()
            rest = await self._survive()
            if rest is None:
                if not self._woken.is_set():
                    return
            elif rest > 0:
                await self._rest(rest)

    async def _survive(self) -> float | None:
        try:
            return await self._look()
        except (Unavailable, EngineRefused) as error:  # from the look itself: we know nothing now
            self._show(Phase.UNKNOWN, str(error), address=self._board.get(self._id).address)
        except Exception as error:  # noqa: BLE001  # a keeper that ends keeps nothing: tell, and go on
            _log.exception("runtime %s", self._id)
            self._show(Phase.UNKNOWN, f"an unexpected error ({type(error).__name__}); the log of clawloops has it")
        return AGAIN_S

    async def _look(self) -> float | None:
        """One round. Returns the seconds to rest if nobody wakes us, or None when there is nothing left to keep."""
        desired = await rows.get(self._hands.db, self._id)
        if desired is None:
            return None
        self._board.know(desired)
        world, config = await observe(self._hands, desired)
        spec = spec_hash(create_body(desired, self._hands.install))
        kept = keep(world, name=self._hands.name(self._id), spec=spec)
        desired = await self._reckon(desired, world, kept)
        await self._view(desired, world, kept)
        steps = plan(
            desired,
            world,
            name=self._hands.name(self._id),
            spec=spec,
            now=now_ms(),
            draining={each: _monotonic() - since for each, since in self._sigterm.items()},
        )
        if steps:
            return await self._step(steps[0], desired, config)
        if desired.want is Want.GONE and not world.containers:
            return None
        until_retry_s = (desired.retry_at - now_ms()) / 1000
        return min(RESYNC_S, until_retry_s) if until_retry_s > 0 else RESYNC_S

    async def _step(self, step: Action, desired: Runtime, config: str) -> float:
        _log.info("runtime %s: %s", self._id, type(step).__name__)
        try:
            await execute(self._hands, step, desired, config)
        except (EngineRefused, OSError) as error:
            if isinstance(error, EngineMissing) and not self._missed:
                self._missed = True  # Docker changed in between: look again, and count it only if that does not help
                return POLL_S
            text = str(error) if isinstance(error, ClawLoopsError) else f"the files of the workspace: {error}"
            _log.warning("runtime %s: %s: %s", self._id, type(step).__name__, text)
            self._obstacle = text
            if desired.want is Want.RUNNING and not isinstance(error, EdgeMissing):
                await self._failed(desired, text)
                return 0.0
            self._show(Phase.DEGRADED, text)
            return AGAIN_S
        self._obstacle, self._missed = "", False
        match step:
            case Start(container):
                self._ours_up = container
            case Stop(container):
                self._ours_up, self._sigterm[container] = None, _monotonic()
            case _:
                pass
        return 0.0

    async def _reckon(self, desired: Runtime, world: World, kept: Container | None) -> Runtime:
        """Bring what we remember in line with what was seen; count an exit that nobody asked for, once."""
        up = {each.id for each in world.containers if each.state.up}
        for gone in self._sigterm.keys() - up:
            del self._sigterm[gone]
        if desired.want is not Want.RUNNING:
            self._ours_up = None
            return await self._cleared(desired)
        if kept is None:
            return desired
        if kept.state in (State.EXITED, State.DEAD) and self._ours_up == kept.id:
            self._ours_up = None
            words = phases.ended_because(kept, memory_mb=self._hands.install.memory_mb)
            return await self._failed(desired, words)
        if kept.state is State.RUNNING and kept.id not in self._sigterm:
            self._ours_up = kept.id
            if self._ready and _monotonic() - self._run_began > STABLE_MS:
                return await self._cleared(desired)
        return desired

    async def _view(self, desired: Runtime, world: World, kept: Container | None) -> None:
        running = kept is not None and kept.state in (State.RUNNING, State.PAUSED) and kept.id not in self._sigterm
        run = f"{kept.id} {kept.started_at}" if kept is not None and kept.state is State.RUNNING else self._run
        if not running or run != self._run:
            self._run, self._run_began, self._ready = run if running else "", _monotonic(), False
        address = names.addresses(desired.subnet).runtime if running else None
        reachable = world.network is not None and world.network.edge
        if address and reachable and not self._ready and kept is not None and kept.state is State.RUNNING:
            self._ready = await self._probe(address)
        self._address = address if reachable and not self._ready else None
        if self._obstacle is None:
            self._obstacle = desired.failure if waiting(desired, now_ms()) else ""
        phase, reason = phases.derive(
            desired,
            world,
            kept if running or kept is None or not kept.state.up else None,
            ready=self._ready,
            booting_ms=_monotonic() - self._run_began,
            image=self._hands.install.image,
            obstacle=self._obstacle,
        )
        self._show(phase, reason, address=address if phase in (Phase.BOOT, Phase.READY) else None)

    def _show(self, phase: Phase, reason: str = "", *, address: str | None = None) -> None:
        before = self._board.get(self._id)
        since = before.since if before.phase is phase and before.since else now_ms()
        steps = self._opening.at(phase, _monotonic())
        self._board.put(View(self._id, phase, reason, address, since, steps))

    async def _failed(self, desired: Runtime, reason: str) -> Runtime:
        failures = desired.failures + 1
        wait = backoff_ms(failures, jitter=random.random())  # noqa: S311  # spreads retries, keeps no secret
        return await rows.set_failure(self._hands.db, self._id, failures, reason, now_ms() + wait)

    async def _cleared(self, desired: Runtime) -> Runtime:
        if not desired.failures:
            return desired
        return await rows.set_failure(self._hands.db, self._id, 0, "", 0)

    async def _rest(self, seconds: float) -> None:
        """Wait to be woken; while it boots, ask it every POLL_S seconds whether it is ready, without asking Docker."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, POLL_S) if self._address else left):
                    await self._woken.wait()
                    return
            if self._address and await self._probe(self._address):
                return


def _monotonic() -> int:
    return time.monotonic_ns() // 1_000_000
