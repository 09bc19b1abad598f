"""What the work on a workspace needs of its runtime, and how a person is told of it. Pure."""

from __future__ import annotations

from clawloops.model.runtime import Runtime
from clawloops.model.workspace import Hold, Job, JobState, Task
from clawloops.orchestrator.plan import World
from clawloops.runtimes.seen import State

GOING_BACK = "going back: "
"""Begins the note of an upgrade that did not prove itself; the reason follows."""

_WORDS = {
    Task.SNAPSHOT: "a snapshot of the workspace is being made",
    Task.RESTORE: "an earlier state of the workspace is being restored",
    Task.RESET: "an empty workspace is being made",
    Task.EXPORT: "the workspace is being packed into one file",
    Task.IMPORT: "a workspace is being unpacked",
    Task.CLONE: "a workspace is being copied here",
    Task.RESTART: "the workspace is being restarted",
    Task.UPGRADE: "OpenClaw is being upgraded; the state before it is kept",
}


def hold_of(job: Job | None, desired: Runtime) -> Hold:
    """An upgrade holds nothing until it has begun, and runs the new image on a copy while it is on trial."""
    if job is None:
        return Hold.NONE
    match job.task:
        case Task.SNAPSHOT | Task.EXPORT:
            return Hold.QUIET
        case Task.CLONE if desired.volume_at:  # the copy arrives as a snapshot
            return Hold.NONE
        case Task.UPGRADE if job.note.startswith(GOING_BACK):
            return Hold.DOWN
        case Task.UPGRADE if desired.before_image:
            return Hold.UP
        case Task.UPGRADE if job.state is JobState.PENDING:
            return Hold.NONE
        case _:
            return Hold.DOWN


def reached(hold: Hold, world: World) -> bool:
    """Whether the runtime is as the work needs it."""
    running = {State.RUNNING, State.RESTARTING}
    match hold:
        case Hold.QUIET:
            return not any(each.state in running for each in world.containers)
        case Hold.DOWN:
            return not any(each.state.up for each in world.containers)
        case Hold.NONE | Hold.UP:
            return True


def words(job: Job | None) -> str:
    return _WORDS[job.task] if job is not None else ""
