"""Carries a rollout out, step by step. It keeps nothing in memory: whoever leads next goes on where this one was."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace

from clawloops.clock import now_ms
from clawloops.errors import Conflict, EngineRefused, Unavailable
from clawloops.model.account import Role
from clawloops.model.workspace import Job, JobState, Task
from clawloops.orchestrator.execute import Hands
from clawloops.orchestrator.rollout import Begin, Rename, Seen, Step, Tell, Upgrade, Withdraw, next_step
from clawloops.orchestrator.walls import Walls
from clawloops.store import jobs, rollouts, runtimes, users

_log = logging.getLogger(__name__)

EVERY_S = 30.0
SOON_S = 2.0  # while somebody is being moved: the next one goes as soon as that has ended


class Roller:
    def __init__(self, hands: Hands, walls: Walls, wake: Callable[[str], None]) -> None:
        self._walls = walls
        self._hands = hands
        self._wake = wake
        self._asked = asyncio.Event()

    def look(self) -> None:
        """Look soon: an admin has changed something. Never blocks."""
        self._asked.set()

    async def run(self) -> None:
        """For ever; cancelling is safe at every point."""
        while True:
            self._asked.clear()
            rest = EVERY_S
            try:
                while await self.step():
                    pass
                if await self._under_way():
                    rest = SOON_S
            except Conflict:  # somebody changed a row between our reading and writing: look again
                continue
            except (Unavailable, EngineRefused) as error:
                _log.warning("rollout: %s", error)
            except Exception:  # noqa: BLE001  # a rollout that ends silently leaves members behind
                _log.exception("rollout")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._asked.wait()

    async def step(self) -> bool:
        """Do the next thing; False when there is none for now."""
        step = next_step(await self._see(), now=now_ms())
        if step is not None:
            await self._do(step)
        return step is not None

    async def _under_way(self) -> bool:
        return any(each.task is Task.UPGRADE for each in await jobs.open_(self._hands.db))

    async def _see(self) -> Seen:
        db, target = self._hands.db, self._hands.install.image
        rows = await runtimes.all(db)
        ids: dict[str, str] = {}
        for name in {target, *(each.image for each in rows), *(each.pin for each in rows)} - {""}:
            if (image := await self._hands.images.look(name)) is not None:
                ids[name] = image.id
        owned = {each.owner: each.id for each in rows}
        admins = [each for each in await users.all(db) if each.role.administers and each.id in owned]
        admins.sort(key=lambda each: each.role is not Role.OWNER)
        return Seen(
            target=target,
            rows=rows,
            jobs=await jobs.of_task(db, Task.UPGRADE),
            rollout=await rollouts.of(db, target),
            ids=ids,
            chosen=await rollouts.chosen_canary(db),
            held=self._walls.held,
            usual=[owned[each.id] for each in admins],
        )

    async def _do(self, step: Step) -> None:
        db, now = self._hands.db, now_ms()
        match step:
            case Begin(rollout):
                _log.info("rollout to %s begins", rollout.image)
                await rollouts.begin(db, rollout)
            case Tell(rollout):
                _log.info("rollout to %s: %s: %s", rollout.image, rollout.state, rollout.note)
                await rollouts.put(db, rollout)
            case Upgrade(runtime_id, image):
                job = "j" + secrets.token_hex(8)
                await jobs.add(db, Job(job, runtime_id, Task.UPGRADE, image, JobState.PENDING, "", None, now, 0))
                self._wake(runtime_id)
            case Rename(runtime_id, image):
                row = await runtimes.get(db, runtime_id)
                if row is not None:
                    await runtimes.put(db, replace(row, image=image))
            case Withdraw(job_id):
                await jobs.cancel(db, job_id, now=now)
