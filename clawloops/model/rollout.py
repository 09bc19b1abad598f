"""Moving everybody to another image of OpenClaw: how far that is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RolloutState(StrEnum):
    CANARY = "canary"  # one member's runtime is tried first
    REST = "rest"  # the others, one at a time
    DONE = "done"  # nobody is left who could be moved now
    HALTED = "halted"  # it went wrong: nobody else is moved until an admin says so, or the image changes


@dataclass(frozen=True, slots=True)
class Rollout:
    """Instants are Unix time in milliseconds."""

    image: str  # what everybody is moved to
    canary: str  # runtime id
    state: RolloutState
    note: str  # how far it is, or why it halted; a sentence
    started_at: int
    ended_at: int  # 0 while it is not done or halted
