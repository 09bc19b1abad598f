"""What a look at every part of the box finds, and what may be done about it without a person's judgement. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Remedy(StrEnum):
    """What puts a part right by itself, and can do no harm: nothing of a member's is touched."""

    START_PARTS = "start-parts"
    RESTART_OLLAMA = "restart-ollama"
    RESTART_LITELLM = "restart-litellm"
    RESTART_TRAEFIK = "restart-traefik"
    RESTART_CERTIFICATES = "restart-certificates"
    REMAKE_CANARY = "remake-canary"
    REMAKE_NETWORKS = "remake-networks"
    START_WORKSPACES = "start-workspaces"
    REMOVE_IMAGES = "remove-images"
    MAKE_BACKUP = "make-backup"


@dataclass(frozen=True, slots=True)
class Finding:
    """How it stands with one part."""

    part: str
    why: str = ""  # "": well. Otherwise what is wrong, and what to do
    remedy: Remedy | None = None  # what would do that by itself


@dataclass(frozen=True, slots=True)
class Try:
    """A remedy that was used. Times are Unix ms."""

    remedy: Remedy
    part: str
    by: str  # a user's id
    at: int
    ended_at: int = 0  # 0: under way
    outcome: str = ""  # "": it helped


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found last, and what was tried since the control plane was started."""

    findings: tuple[Finding, ...] = ()
    at: int = 0  # Unix ms; 0: not looked at yet
    is_looking: bool = False
    trouble: str = ""  # why it could not be looked
    tries: tuple[Try, ...] = ()  # the last of each remedy, newest first

    @property
    def wrong(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.why)

    def try_of(self, remedy: Remedy | None) -> Try | None:
        return next((each for each in self.tries if each.remedy is remedy), None)
