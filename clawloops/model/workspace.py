"""A member's workspace: its volumes (one live, snapshots, trash), the work done on them, and the history of a runtime.

Instants are Unix time in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TRASH_DAYS = 7
MOST_SNAPSHOTS = 10  # of one workspace
EXPORT_HOURS = 24
HISTORY_DAYS = 30


class Kind(StrEnum):
    LIVE = "live"  # the one that the runtime uses
    SNAPSHOT = "snapshot"
    TRASH = "trash"  # was live; removed TRASH_DAYS after it was put there
    FILLING = "filling"  # a copy that has not ended; never used


@dataclass(frozen=True, slots=True)
class Volume:
    runtime_id: str
    number: int  # free again only when its Docker volume was removed
    kind: Kind
    note: str  # what it is, for a person
    image: str  # the OpenClaw image that its state belongs to
    bytes: int  # size of its files when it was copied; 0 when nobody measured it
    made_at: int
    ended_at: int  # TRASH: when it was put there; 0 otherwise


class Task(StrEnum):
    SNAPSHOT = "snapshot"
    RESTORE = "restore"  # argument: number of a snapshot, or of a volume in the trash
    RESET = "reset"  # an empty workspace; what was there goes to the trash
    EXPORT = "export"
    IMPORT = "import"
    CLONE = "clone"  # argument: "<runtime id> <number>" of a snapshot; the runtime of the job gets the copy
    RESTART = "restart"
    UPGRADE = "upgrade"  # argument: the image


class Hold(StrEnum):
    """What a task needs of its runtime while it works."""

    NONE = "none"
    QUIET = "quiet"  # nothing may write: paused will do
    DOWN = "down"
    UP = "up"  # an upgrade on trial


class JobState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work on a workspace, done by the runtime's own keeper, oldest first."""

    id: str  # "j" + 16 hex
    runtime_id: str
    task: Task
    argument: str
    state: JobState
    note: str  # how far it is, what came of it, or why it failed; a sentence
    actor: str | None  # user id; None: the appliance itself
    created_at: int
    ended_at: int  # 0 while it is not done


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a runtime's history, kept for HISTORY_DAYS."""

    id: int
    runtime_id: str
    at: int
    kind: str  # a step of the plan, a phase, "sleep", "wake", a task
    text: str  # one sentence
    took_ms: int | None
    actor: str | None  # user id of whoever asked for it; None: the appliance itself
