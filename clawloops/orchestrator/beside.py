"""Work on a workspace that holds its runtime up in nothing: it is done beside the keeper, which goes on keeping."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable

from clawloops.errors import Conflict, EngineRefused, Unavailable
from clawloops.model.runtime import Runtime
from clawloops.model.workspace import Hold, Job, Task
from clawloops.orchestrator import copies
from clawloops.orchestrator.execute import Hands
from clawloops.store import jobs as job_rows

log = logging.getLogger(__name__)

AGAIN_S = 10.0


class Beside:
    """At most one copy at a time. `wake` is called when it has ended, well or not."""

    def __init__(self, hands: Hands, wake: Callable[[], None]) -> None:
        self._hands = hands
        self._wake = wake
        self._task: asyncio.Task[None] | None = None

    def takes(self, job: Job, hold: Hold, desired: Runtime) -> bool:
        """Whether the work is done here; it is begun then, unless it is under way."""
        if hold is not Hold.NONE or job.task is not Task.CLONE:
            return False
        if self._task is None or self._task.done():
            work = self._copy(job, desired)
            self._task = asyncio.create_task(work, name=f"copy {job.id}", context=contextvars.Context())
        return True

    async def end(self) -> None:
        """Cut what is under way, and wait until it has tidied up. It is begun again by whoever comes next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _copy(self, job: Job, desired: Runtime) -> None:
        try:
            now = await job_rows.get(self._hands.db, job.id)
            if now is not None and not now.ended_at:  # the keeper may have read it before the last copy ended
                await copies.perform(self._hands, now, desired)
        except (Unavailable, EngineRefused, Conflict, OSError) as error:
            log.warning("runtime %s: %s is tried again: %s", desired.id, job.task, error)
            await asyncio.sleep(AGAIN_S)
        except Exception:  # as in the keeper: tell, and go on
            log.exception("runtime %s: %s", desired.id, job.task)
            await asyncio.sleep(AGAIN_S)
        finally:
            self._wake()
