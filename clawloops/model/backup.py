"""Copies of the store that are kept on the box: what their names say, and which have had their time. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

KEPT_DAYS = 7  # so many daily ones
_NAME = re.compile(r"[\w.-]{1,80}?-(daily|asked|before-restore|schema\d{1,6})-(\d{8}T\d{6}Z)\.db", re.ASCII)
_STAMP = "%Y%m%dT%H%M%SZ"


class Reason(StrEnum):
    """Why it was made."""

    DAILY = "daily"  # by itself
    ASKED = "asked"  # an admin wanted one
    UPGRADE = "schema"  # a newer version was about to change the database; its schema follows in the name
    RESTORE = "before-restore"  # it was in use until another one was put back


@dataclass(frozen=True, slots=True)
class Backup:
    """A whole SQLite database. Its name is `STEM-REASON-INSTANT.db`, with an instant of UTC to the second."""

    name: str
    reason: Reason
    made_at: int  # Unix ms
    size: int  # bytes


def name_of(stem: str, reason: Reason, now: int, *, schema: int = 0) -> str:
    """`now`: Unix ms. `schema`: the number of the last migration that is in it, with UPGRADE."""
    why = f"{reason}{schema}" if reason is Reason.UPGRADE else reason
    return f"{stem}-{why}-{datetime.fromtimestamp(now / 1000, UTC).strftime(_STAMP)}.db"


def read(name: str, size: int) -> Backup | None:
    """What a file's name says; None for one that is no backup of ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        made = datetime.strptime(found[2], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Backup(name, Reason(found[1].rstrip("0123456789")), int(made.timestamp() * 1000), size)


def expired(backups: Iterable[Backup]) -> list[Backup]:
    """Daily ones that newer ones stand in for. Any other stays until a person removes it."""
    daily = [each for each in backups if each.reason is Reason.DAILY]
    return sorted(daily, key=lambda each: -each.made_at)[KEPT_DAYS:]
