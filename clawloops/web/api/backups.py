"""Backups of the box: which there are, one more, one less. Putting one back is done from a shell on it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from clawloops.model.backup import Backup, Reason
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Instant, Shown, at
from clawloops.web.context import BACKUPS

BackupName = Annotated[str, Meta(pattern=r"^[\w.-]{1,160}$", description="As the list gives it.")]


class BackupFile(Shown, frozen=True):
    """A copy of the whole database; the master key and members' files are not in it."""

    name: str
    reason: Reason
    """Made each day, asked for, before a new version of the schema, or in use until another one was put back."""
    made_at: Instant
    size: int
    """Bytes."""


async def list_backups(call: Call, query: Paged) -> Listed[BackupFile]:
    """Newest first. Empty on PostgreSQL, which has its own tool for that."""
    found = await call.app[BACKUPS].all(by=call.user)
    return page_of(found, query, key=lambda each: (-each.made_at, each.name), show=_shown)


async def make(call: Call) -> BackupFile:
    """Of a large database this takes seconds. Refused on PostgreSQL."""
    return _shown(await call.app[BACKUPS].make(by=call.user))


async def remove(call: Call, name: BackupName) -> None:
    await call.app[BACKUPS].remove(name, by=call.user)


def _shown(backup: Backup) -> BackupFile:
    return BackupFile(name=backup.name, reason=backup.reason, made_at=at(backup.made_at), size=backup.size)
