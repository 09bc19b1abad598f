"""The work on a workspace, done by its runtime's keeper while the runtime is as the work needs it."""

from __future__ import annotations

from clawloops.clock import now_ms
from clawloops.model.runtime import Runtime
from clawloops.model.workspace import Job, JobState, Task
from clawloops.orchestrator import copies
from clawloops.orchestrator.ask import Control
from clawloops.orchestrator.execute import Hands
from clawloops.orchestrator.upgrade import Trial, upgrade
from clawloops.store import jobs as rows

AT_ONCE = 0.0  # seconds that the keeper rests after a job: it looks again now


async def perform(hands: Hands, control: Control, job: Job, desired: Runtime, *, trial: Trial, idle: bool) -> float:
    """Do the job, or the next part of it. Returns the seconds that the keeper rests then.

    `idle`: nobody uses the runtime now. Raises Unavailable when Docker or the database does not answer: it is then
    begun again.
    """
    match job.task:
        case Task.RESTART:  # being down was all that it needed
            await rows.note(hands.db, job.id, JobState.DONE, "restarted", now=now_ms())
        case Task.UPGRADE:
            return await upgrade(hands, control, job, desired, trial=trial, idle=idle)
        case Task.SNAPSHOT | Task.RESTORE | Task.RESET | Task.EXPORT | Task.IMPORT | Task.CLONE:
            await copies.perform(hands, job, desired)
    return AT_ONCE
