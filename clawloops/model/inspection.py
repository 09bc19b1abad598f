"""An inspection: an admin has a member's workspace open for a while, for a reason that the member is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MINUTES = (15, 60, 240)
"""For how long one may be asked for."""


class Ending(StrEnum):
    """What ended it."""

    TIME = "time"
    DONE = "done"  # the admin needed it no longer
    OBJECTION = "objection"  # its member, or another admin, wanted it to end
    SIGNED_OUT = "signed out"  # the session that it was opened for has ended
    NOT_ENTITLED = "not entitled"  # the admin was disabled, or is none any more, or ranks below the member now
    DISABLED = "disabled"  # its member was
    GONE = "gone"  # its member has given the workspace's container up


@dataclass(frozen=True, slots=True)
class Inspection:
    """As stored, with what never changes about its workspace. All instants are Unix ms."""

    id: str  # "n" + 16 hex
    admin: str  # user id
    runtime_id: str
    owner: str  # user id of the workspace's member
    slug: str  # the workspace's host label
    session: bytes  # hash of the one dashboard session that it is for
    reason: str
    opened_at: int
    until_at: int
    first_at: int = 0  # its first use, and its last; 0: none yet
    last_at: int = 0
    ended_at: int | None = None
    ending: Ending | None = None
    ended_by: str | None = None  # user id; None where nobody did
