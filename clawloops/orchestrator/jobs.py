"""The work on a workspace, done by its runtime's keeper while the runtime is as the work needs it."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.clock import now_ms
from clawloops.model.runtime import Runtime
from clawloops.model.workspace import Job, JobState, Task
from clawloops.orchestrator.ask import Control
from clawloops.orchestrator.execute import Hands
from clawloops.store import jobs as rows

AT_ONCE = 0.0  # seconds that the keeper rests after a job: it looks again now


@dataclass(frozen=True, slots=True)
class Trial:
    """How a runtime does on the image that it is being moved to."""

    ready: bool
    failure: str  # why it ended by itself, "" when it did not
    booting_ms: int
    address: str


async def perform(hands: Hands, control: Control, job: Job, desired: Runtime, *, trial: Trial, idle: bool) -> float:
    """Do the job, or the next part of it. Returns the seconds that the keeper rests then.

    `idle`: nobody uses the runtime now. Raises Unavailable when Docker or the database does not answer: it is then
    begun again.
    """
    match job.task:
        case Task.RESTART:  # being down was all that it needed
            await rows.note(hands.db, job.id, JobState.DONE, "restarted", now=now_ms())
        case _:
            raise NotImplementedError(job.task)
    return AT_ONCE
