"""Backups of the box, on its page: make one, remove one. Putting one back is done from a shell (`clawloops backup`)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clawloops.model.backup import KEPT_DAYS, Reason
from clawloops.web.context import BACKUPS, USER

REASONS = {
    Reason.DAILY: "Made by itself",
    Reason.ASKED: "Asked for",
    Reason.UPGRADE: "Before a new version",
    Reason.RESTORE: "In use until another one was put back",
}


async def values(request: web.Request) -> dict[str, Any]:
    """What `partials/backups.html` is drawn from."""
    backups = request.app[BACKUPS]
    return {
        "backups": await backups.all(by=request[USER]),
        "backups_offered": backups.is_offered,
        "backup_reasons": REASONS,
        "backup_days": KEPT_DAYS,
    }


async def make(request: web.Request) -> web.Response:
    await request.app[BACKUPS].make(by=request[USER])
    raise web.HTTPSeeOther("/box#backups-title")


async def remove(request: web.Request) -> web.Response:
    await request.app[BACKUPS].remove(request.match_info["name"], by=request[USER])
    raise web.HTTPSeeOther("/box#backups-title")
