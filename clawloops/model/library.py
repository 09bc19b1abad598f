"""Models on a backend's own disk."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PullState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Pull:
    id: str  # "q" + 16 hex
    backend_id: str
    model: str  # as it was typed
    is_offered: bool  # gets a public name once it is there
    state: PullState
    note: str  # why it failed, or what is to be known of it
    actor: str  # user id
    created_at: int
    ended_at: int  # Unix ms; 0 while it runs
