"""Pulls of models as jobs: they go on over a closed page, an Ollama that goes away for a while, and a restart."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from clawloops.clock import now_ms
from clawloops.control.backends import Backends
from clawloops.errors import BackendUnavailable, BadInput, ClawLoopsError, Conflict
from clawloops.gateway.ollama import Ollama, Reference, Step, reference
from clawloops.model.account import User
from clawloops.model.library import Pull, PullState
from clawloops.model.provider import Backend
from clawloops.store import pulls
from clawloops.store.db import Database

MOST_AT_ONCE = 4  # of one backend
TRIES_S = (2.0, 5.0, 10.0, 30.0, 60.0, 120.0)  # pauses while Ollama does not answer
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    pull: Pull
    what: str = ""  # as Ollama says it
    completed: int = 0  # bytes
    total: int = 0


class Pulls:
    def __init__(
        self,
        db: Database,
        backends: Backends,
        api: Callable[[Backend], Ollama],
        *,
        arrived: Callable[[Backend, Reference, Pull], Awaitable[str]],
        keep: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`arrived` is awaited when a model is there, and says what an admin is to know.

        `keep` runs something beside the calls.
        """
        self._db = db
        self._backends = backends
        self._api = api
        self._arrived = arrived
        self._keep = keep
        self._running: dict[str, asyncio.Task[None]] = {}
        self._beginning = asyncio.Lock()
        self._steps: dict[str, dict[str, Step]] = {}  # pull id -> layer -> the latest of it

    async def resume(self) -> None:
        """Go on with those that a restart interrupted: Ollama has kept what had come."""
        for pull in await pulls.running(self._db):
            self._start(pull)

    async def of(self, backend_id: str) -> tuple[Progress, ...]:
        """Newest first."""
        return tuple(self._progress(each) for each in await pulls.of(self._db, backend_id))

    async def begin(self, backend: Backend, wanted: Reference, *, is_offered: bool, by: User) -> Pull:
        """Raises Conflict when it is being pulled already, BadInput when too many are."""
        name = f"http://{wanted.name}" if wanted.is_insecure else wanted.name
        async with self._beginning:
            under_way = [each for each in await pulls.running(self._db) if each.backend_id == backend.id]
            if any(each.model == name for each in under_way):
                raise Conflict(f"{name} is being pulled already.")
            if len(under_way) >= MOST_AT_ONCE:
                raise BadInput(f"{MOST_AT_ONCE} models are being pulled already. Wait for one of them.", field="model")
            pull = Pull(
                "q" + secrets.token_hex(8), backend.id, name, is_offered, PullState.RUNNING, "", by.id, now_ms(), 0
            )
            await pulls.add(self._db, pull)
        self._start(pull)
        return pull

    async def cancel(self, pull_id: str) -> None:
        """Nothing happens to one that has ended."""
        await pulls.end(self._db, pull_id, PullState.CANCELLED, "", now_ms())
        if task := self._running.get(pull_id):
            task.cancel()

    def _start(self, pull: Pull) -> None:
        self._steps[pull.id] = {}
        task = self._running[pull.id] = asyncio.ensure_future(self._follow(pull))
        self._keep(quietly(task))

    async def _follow(self, pull: Pull) -> None:
        """Until it is there, or cannot be, and that is written down."""
        try:
            try:
                state, note = PullState.DONE, await self._whole(pull)
            except ClawLoopsError as error:
                state, note = PullState.FAILED, str(error)
            for pause in (*TRIES_S, 0.0):
                try:
                    return await pulls.end(self._db, pull.id, state, note, now_ms())
                except ClawLoopsError as error:  # its disk may be full of what was pulled
                    log.error("that the pull of %s is %s is not written down: %s", pull.model, state, error)
                    await asyncio.sleep(pause)
        finally:
            self._steps.pop(pull.id, None)
            self._running.pop(pull.id, None)

    async def _whole(self, pull: Pull) -> str:
        """Pull, again where Ollama went away in between. Returns what an admin is to know."""
        backend = await self._backends.get(pull.backend_id)
        wanted = reference(pull.model)
        pauses = iter(TRIES_S)
        while True:
            try:
                async for step in self._api(backend).pull(wanted):
                    self._steps[pull.id][step.layer] = step
                    pauses = iter(TRIES_S)
            except BackendUnavailable:
                pause = next(pauses, None)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return await self._arrived(backend, wanted, pull)

    def _progress(self, pull: Pull) -> Progress:
        steps = self._steps.get(pull.id, {})
        latest = list(steps.values())[-1].what if steps else "It begins." if not pull.ended_at else ""
        layers = [each for layer, each in steps.items() if layer]
        return Progress(pull, latest, sum(each.completed for each in layers), sum(each.total for each in layers))


def newest(pulls: Iterable[Progress]) -> tuple[Progress, ...]:
    """Of each model the newest (`pulls` are newest first): what is tried again takes the place of what failed."""
    found: dict[str, Progress] = {}
    for each in pulls:
        found.setdefault(each.pull.model, each)
    return tuple(found.values())


async def quietly(work: asyncio.Future[None]) -> None:
    """Until it ends; one that was cancelled has been dealt with."""
    try:
        await work
    except asyncio.CancelledError:
        if not work.cancelled():
            work.cancel()
            raise
