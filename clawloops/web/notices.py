"""What people read about admins in members' workspaces: open ones on every page, and those of a workspace for good."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from clawloops.control.accounts import Accounts
from clawloops.model.account import User
from clawloops.model.inspection import Ending, Inspection
from clawloops.web.context import ACCOUNTS, INSPECTIONS, SITE


@dataclass(frozen=True, slots=True)
class Notice:
    """An open inspection, for its member and for the admin."""

    inspection: Inspection
    admin: str  # names
    owner: str
    is_admins: bool  # whether it is shown to the admin who opened it
    address: str  # origin of the workspace


@dataclass(frozen=True, slots=True)
class Record:
    """One of a workspace's inspections, open or ended."""

    inspection: Inspection
    admin: str  # name
    end: str  # a sentence, "" while it is open


def notices_for(app: web.Application, user: User) -> tuple[Notice, ...]:
    """The open inspections that concern somebody. Memory only."""
    accounts, site = app[ACCOUNTS], app[SITE]
    return tuple(
        Notice(
            each,
            admin=accounts.get(each.admin).name,
            owner=accounts.get(each.owner).name,
            is_admins=each.admin == user.id,
            address=site.workspace_origin(each.slug),
        )
        for each in app[INSPECTIONS].concerning(user.id)
    )


async def records_of(app: web.Application, runtime_id: str) -> tuple[Record, ...]:
    """Those of a workspace, newest first."""
    found = await app[INSPECTIONS].of(runtime_id)
    accounts = app[ACCOUNTS]
    return tuple(Record(each, accounts.get(each.admin).name, _end(each, accounts)) for each in found)


def _end(each: Inspection, accounts: Accounts) -> str:
    admin, owner = accounts.get(each.admin).name, accounts.get(each.owner).name
    match each.ending:
        case None:
            return ""
        case Ending.TIME:
            return "The time was up."
        case Ending.DONE | Ending.OBJECTION:
            return f"{accounts.get(each.ended_by).name if each.ended_by else admin} has ended it."
        case Ending.SIGNED_OUT:
            return f"{admin}'s session had ended."
        case Ending.NOT_ENTITLED:
            return f"{admin} was no longer allowed to."
        case Ending.DISABLED:
            return f"{owner} was disabled."
        case Ending.GONE:
            return f"{owner} has deleted the container."
