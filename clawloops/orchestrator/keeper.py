"""Keeps one runtime as it is wanted: look, plan, one step, look again. Survives every failure, and tells of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from functools import partial

from clawloops.clock import now_ms, steady_ms
from clawloops.errors import ClawLoopsError, Conflict, EngineRefused, Unavailable
from clawloops.model.runtime import Phase, Runtime, Sleep, Want
from clawloops.model.workspace import Hold, Job
from clawloops.orchestrator import hold as holds
from clawloops.orchestrator import jobs as work
from clawloops.orchestrator import phase as phases
from clawloops.orchestrator.actions import Action, Limit, Start, Stop, Unpause
from clawloops.orchestrator.admission import EVERY_S
from clawloops.orchestrator.beside import Beside
from clawloops.orchestrator.doze import Doze
from clawloops.orchestrator.execute import Look, NoRoom, Outside, execute, observe
from clawloops.orchestrator.failures import Failures
from clawloops.orchestrator.history import History
from clawloops.orchestrator.means import Means
from clawloops.orchestrator.plan import Aim, Wanted, aim, by_hand, keep, opened, outdated, plan, shut, waiting
from clawloops.orchestrator.probe import POLL_S, rest
from clawloops.orchestrator.run import Run
from clawloops.orchestrator.shown import Shown
from clawloops.orchestrator.upgrade import Trial
from clawloops.runtimes import containers, names
from clawloops.runtimes.client import EngineMissing
from clawloops.runtimes.seen import Container, State
from clawloops.store import jobs as job_rows
from clawloops.store import runtimes as rows

_log = logging.getLogger(__name__)

RESYNC_S = 30.0
AGAIN_S = 2.0  # after the Engine or the database did not answer
STABLE_MS = 600_000  # ready for so long: earlier failures are forgotten
SQUEEZE_AFTER_MS = 60_000  # paused for so long: its memory is pushed out to swap
SQUEEZED_BYTES = 64 * 2**20


class Keeper:
    """One task per runtime, and one lock, so nothing here ever happens twice at the same time."""

    def __init__(self, runtime_id: str, means: Means) -> None:
        self._id = runtime_id
        self._means = means
        self._hands = means.hands
        self._lock = asyncio.Lock()
        self._woken = asyncio.Event()
        self._run = Run()
        self._doze = Doze(means.control, means.activity, means.rules)
        self._shown = Shown(runtime_id, means.board, means.gate, self._doze)
        self._history = History(means.hands.db, runtime_id, means.board)
        self._failures = Failures(means.hands.db, self._history)
        self._beside = Beside(means.hands, self.wake)
        self._kept: Container | None = None
        self._address: str | None = None  # where to probe while it boots
        self._missed = False  # the last step found gone what the look before it had seen
        self._obstacle: str | None = None  # why the last step was refused; None: no look yet
        self._queued = ""  # why it waits for its turn to start
        self._no_swap = False  # its memory did not fit into swap
        self._pressed = False  # it was chosen to give its memory back
        self._busy = False  # work on its workspace is under way, which may take minutes

    def wake(self) -> None:
        """Look again soon. Many calls before that are one."""
        self._woken.set()

    def press(self) -> None:
        """The box is short of memory: sleep as deep as its policy allows, if nobody uses it."""
        self._pressed = True
        self.wake()

    async def run(self) -> None:
        """Until the runtime is gone with all its parts; cancelling is safe at every point."""
        try:
            while True:
                self._woken.clear()
                seconds = await self._survive()
                if seconds is None:
                    if not self._woken.is_set():
                        return
                elif seconds > 0:
                    ready = partial(self._means.probe, self._address) if self._address else None
                    await rest(seconds, self._woken, ready)
        finally:
            self._means.gate.leave(self._id)
            self._means.walls.forget(self._id)
            await self._beside.end()

    async def rouse(self, why: str) -> None:
        """End its sleep. A paused one goes on before this returns; a stopped one begins to boot.

        Raises Unavailable when the database does not answer. What Docker refuses is shown on the board.
        """
        if self._busy:
            return
        try:
            async with self._lock:
                with contextlib.suppress(Conflict):  # their change counts, and the next look follows it
                    await self._end_sleep(why)
        finally:
            self.wake()  # also when whoever asked has left in the middle of it

    async def _end_sleep(self, why: str) -> None:
        began = steady_ms()
        desired = await rows.get(self._hands.db, self._id)
        if desired is None or desired.want is not Want.RUNNING or self._means.walls.why(self._id):
            return
        if desired.sleep is Sleep.AWAKE:  # a look has just ended its sleep, and would unpause it as its next step
            await self._go_on(desired)
            return
        desired = await rows.put(self._hands.db, self._doze.woken(desired, why))
        await self._go_on(desired)
        await self._history.note("wake", desired.sleep_why, took_ms=steady_ms() - began)

    async def _go_on(self, desired: Runtime) -> None:
        """Unpause without a look first: a visitor is waiting. Whatever fails here, the next look deals with."""
        kept = self._kept
        if kept is None or kept.state is not State.PAUSED:
            return
        engine, address = self._hands.engine, names.addresses(desired.subnet).runtime
        self._doze.may_be_closed()
        promised = self._hands.install.limits_of(desired).memory_mb
        try:
            if kept.memory < promised * 2**20 and not kept.is_rigid:
                await containers.limit(engine, kept.id, memory_mb=promised, promised_mb=promised)
            await containers.unpause(engine, kept.id)
        except (Unavailable, EngineRefused) as error:
            _log.warning("runtime %s: unpause: %s", self._id, error)
            return
        self._kept = replace(kept, state=State.RUNNING)
        await self._doze.open(address)
        if not self._run.ready:  # it was paused before this process began
            self._run.probed(answers=await self._means.probe(address))
        if self._run.ready:
            self._shown.show(desired, Phase.READY, address=address)

    async def _survive(self) -> float | None:
        async with self._lock:
            try:
                return await self._look()
            except Conflict:  # somebody changed the row between our reading and writing: their change counts
                return 0.0
            except (Unavailable, EngineRefused) as error:  # from the look itself: we know nothing now
                self._shown.show(None, Phase.UNKNOWN, str(error), address=self._shown.now.address)
            except Exception as error:  # noqa: BLE001  # a keeper that ends keeps nothing: tell, and go on
                _log.exception("runtime %s", self._id)
                text = f"an unexpected error ({type(error).__name__}); the log of clawloops has it"
                self._shown.show(None, Phase.UNKNOWN, text)
            return AGAIN_S

    async def _look(self) -> float | None:
        """One round. Returns the seconds to rest if nobody wakes us, or None when there is nothing left to keep."""
        desired = await rows.get(self._hands.db, self._id)
        if desired is None:
            return None
        self._means.board.know(desired)
        job = await job_rows.next_of(self._hands.db, self._id)
        hold = holds.hold_of(job, desired)
        async with self._means.turns.of(self._id):
            look = await observe(self._hands, desired)
        self._means.walls.saw(self._id, opened(look.world))
        wanted = self._wanted(desired, look, hold)
        kept = self._kept = keep(look.world, wanted)
        desired = await self._reckon(desired, look, kept, wanted)
        await self._view(desired, look, kept, wanted, job)
        steps = plan(desired, look.world, wanted, now=now_ms(), draining=self._run.draining())
        if steps:
            return await self._step(steps[0], desired, look)
        self._queued = ""
        if desired.want is Want.GONE and not look.world.containers and job is None:
            return None
        if wanted.hurry:  # nothing else is done until the wall is closed
            return AGAIN_S if self._run.sigterm or self._id in self._means.walls.open_networks else RESYNC_S
        if job is not None and not self._beside.takes(job, hold, desired) and holds.reached(hold, look.world):
            return await self._work(job, desired, hold, kept)
        return await self._settle(desired, look, wanted, kept)

    def _wanted(self, desired: Runtime, look: Look, hold: Hold) -> Wanted:
        memory = self._hands.install.limits_of(desired).memory_mb
        squeeze = (
            self._run.paused_ms > SQUEEZE_AFTER_MS
            and not (self._no_swap or self._hands.install.is_rigid)
            and hold is Hold.NONE
            and self._means.gate.box().swap_mb > memory  # cgroup v2 kills what does not fit
        )
        walls = self._means.walls
        free, is_shut = aim(desired, hold), walls.why(self._id) != ""
        return Wanted(
            aim=shut(free, own=self._id in walls.held) if is_shut else free,
            hurry=is_shut,
            name=self._hands.name(self._id),
            spec=look.spec,
            memory=memory * 2**20,
            volume=names.volume(self._hands.install.install_id, self._id, desired.volume),
            squeeze=SQUEEZED_BYTES if squeeze else None,
        )

    async def _settle(self, desired: Runtime, look: Look, wanted: Wanted, kept: Container | None) -> float:
        """All is as wanted: is it time to sleep, to wake, or to end what runs with an older spec?"""
        now, address = now_ms(), names.addresses(desired.subnet).runtime
        if desired.want is Want.RUNNING and (wanted.aim is not Aim.UP or self._run.ready):
            awake = address if wanted.aim is Aim.UP else None
            changed = await self._doze.turn(
                desired, awake, paused_ms=self._run.paused_ms, now=now, pressed=self._pressed
            )
            self._pressed = False
            if changed is not None:
                await rows.put(self._hands.db, changed)
                await self._history.note("wake" if changed.sleep is Sleep.AWAKE else "sleep", changed.sleep_why)
                return 0.0
            if kept is not None and wanted.aim is Aim.UP and outdated(kept, wanted):
                newer = replace(wanted, may_replace=True)
                steps = plan(desired, look.world, newer, now=now, draining=self._run.draining())
                if steps and await self._doze.is_idle(desired, address):
                    return await self._step(steps[0], desired, look)
        waits = self._doze.rest_s(desired, paused_ms=self._run.paused_ms, now=now)
        if desired.retry_at > now:
            waits.append((desired.retry_at - now) / 1000)
        return min([RESYNC_S, *waits])

    async def _work(self, job: Job, desired: Runtime, hold: Hold, kept: Container | None) -> float:
        """Do what is to be done on its workspace. Meanwhile nobody wakes it: `rouse` returns at once."""
        self._busy = True
        try:
            trial = Trial.of(self._means, self._run, desired, kept)
            idle = kept is None or not kept.state.up or kept.state is State.PAUSED
            if not idle and hold is Hold.NONE and self._run.ready:
                idle = await self._doze.is_idle(desired, trial.address)
            return await work.perform(self._hands, self._means.control, job, desired, trial=trial, idle=idle)
        finally:
            self._busy = False

    async def _step(self, step: Action, desired: Runtime, look: Look) -> float:
        if isinstance(step, Start):
            memory = self._hands.install.limits_of(desired).memory_mb
            self._queued = self._means.walls.waits() or self._means.gate.ask(self._id, memory_mb=memory)
            if self._queued:
                self._shown.show(desired, Phase.QUEUED, self._queued)
                return EVERY_S
        _log.info("runtime %s: %s", self._id, type(step).__name__)
        began = steady_ms()
        try:
            await execute(self._hands, step, desired, look.config)
        except (EngineRefused, OSError) as error:
            return await self._refused(step, desired, error)
        self._obstacle, self._missed = "", False
        match step:
            case Start(container):
                self._run.ours_up = container
                self._doze.is_new()
            case Stop(container):
                self._run.ours_up, self._run.sigterm[container] = None, steady_ms()
            case Unpause():
                self._doze.may_be_closed()
            case Limit(_, memory) if self._kept is not None:
                self._kept = replace(self._kept, memory=memory)  # somebody may be let in before the next look
            case _:
                pass
        await self._history.step(step, steady_ms() - began)
        return 0.0

    async def _refused(self, step: Action, desired: Runtime, error: EngineRefused | OSError) -> float:
        if isinstance(error, EngineMissing) and not self._missed:
            self._missed = True  # Docker changed in between: look again, and count it only if that does not help
            return POLL_S
        text = str(error) if isinstance(error, ClawLoopsError) else f"the files of the workspace: {error}"
        _log.warning("runtime %s: %s: %s", self._id, type(step).__name__, text)
        if isinstance(error, NoRoom) and isinstance(step, Limit):
            self._no_swap = True
            return 0.0
        self._obstacle = text
        self._means.gate.leave(self._id)
        needed = desired.want is Want.RUNNING or desired.before_image  # stopped, but on trial
        if needed and not isinstance(error, Outside):
            desired = await self._failures.count(desired, text)
        self._shown.show(desired, Phase.DEGRADED, text)
        return AGAIN_S

    async def _reckon(self, desired: Runtime, look: Look, kept: Container | None, wanted: Wanted) -> Runtime:
        """Bring what we remember in line with what was seen; count an exit that nobody asked for, once."""
        run = self._run
        run.saw(kept, up={each.id for each in look.world.containers if each.state.up})
        if wanted.aim is not Aim.UP:
            run.ours_up, self._queued = None, ""
            self._means.gate.leave(self._id)
            return await self._failures.forget(desired) if desired.want is not Want.RUNNING else desired
        if kept is None:
            fresh = next((each for each in look.world.containers if each.state is State.CREATED), None)
            if fresh is not None and fresh.spec == wanted.spec and (odd := by_hand(fresh)):
                why = f"Docker makes the container otherwise than asked: {', '.join(odd)}"
                return await self._failures.count(desired, why)
            return desired
        if kept.state in (State.EXITED, State.DEAD) and run.ours_up == kept.id:
            run.ours_up = None
            memory = self._hands.install.limits_of(desired).memory_mb
            self._means.gate.leave(self._id)
            return await self._failures.count(desired, phases.ended_because(kept, memory_mb=memory))
        if kept.state is State.RUNNING and kept.id not in run.sigterm:
            run.ours_up = kept.id
            if run.ready_ms > STABLE_MS:
                return await self._failures.forget(desired)
        return desired

    async def _view(
        self, desired: Runtime, look: Look, kept: Container | None, wanted: Wanted, job: Job | None
    ) -> None:
        run, world = self._run, look.world
        address = names.addresses(desired.subnet).runtime if run.running else None
        reachable = world.network is not None and world.network.edge
        if address and reachable and kept is not None and kept.state is State.RUNNING:
            if wanted.aim is Aim.UP:
                await self._doze.open(address)  # first: one that is closed says that it is not ready
            run.probed(answers=await self._means.probe(address))
        self._address = address if reachable and (not run.ready or run.doubtful) and wanted.aim is Aim.UP else None
        if run.ready:
            self._means.gate.leave(self._id)
        if self._obstacle is None:
            self._obstacle = desired.failure if waiting(desired, now_ms()) else ""
        held = wanted.aim is not aim(desired, Hold.NONE) or desired.before_image != ""  # nobody works in a trial
        phase, reason = phases.derive(
            desired,
            world,
            kept if run.running or kept is None or not kept.state.up else None,
            phases.Facts(
                aim=wanted.aim,
                ready=run.ready,
                booting_ms=run.booting_ms,
                image=look.image,
                image_refused=look.image_refused,
                obstacle=self._obstacle,
                queued=self._queued,
                work=holds.words(job) if job is not None and held else "",
                shut=self._means.walls.why(self._id),
            ),
        )
        older = kept is not None and run.running and wanted.aim is Aim.UP and outdated(kept, wanted)
        before = self._shown.now  # with no `since`, this is the first look: that it went on meanwhile is no news
        shown = address if phase in (Phase.BOOT, Phase.READY, Phase.PAUSED) else None
        self._shown.show(desired, phase, reason, address=shown, pending=phases.PENDING if older else "")
        if phase is not before.phase and (phase is Phase.DEGRADED or (phase is Phase.READY and before.since)):
            took = dict(self._shown.now.steps).get(Phase.READY)
            await self._history.note(phase.value, reason or "OpenClaw is ready", took_ms=took)
