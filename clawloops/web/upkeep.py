"""Admins look after the box: look at every part again, use a remedy, take a support bundle along."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from clawloops.errors import NotFound
from clawloops.model.checkup import Remedy
from clawloops.web.context import UPKEEP, USER

REMEDIES = {
    Remedy.START_PARTS: "Start what is down, except the database and what carries the others.",
    Remedy.RESTART_OLLAMA: "Restart Ollama. Answers that it is giving now break off.",
    Remedy.RESTART_LITELLM: "Restart LiteLLM. Answers that it is giving now break off.",
    Remedy.RESTART_TRAEFIK: "Restart Traefik, which then asks for a certificate again. Pages pause for a second.",
    Remedy.RESTART_CERTIFICATES: "Restart the keeper of certificates, which then makes or reads one.",
    Remedy.REMAKE_CANARY: "Make the canary anew, and test the walls at once.",
    Remedy.REMAKE_NETWORKS: "Make these networks anew. Workspaces on them are cut off for some seconds.",
    Remedy.START_WORKSPACES: "Try to start them again at once.",
    Remedy.REMOVE_IMAGES: "Remove the images of OpenClaw that no workspace, snapshot or way back needs.",
    Remedy.MAKE_BACKUP: "Make a backup of the database now.",
}
"""What each does, beside its button."""


async def look(request: web.Request) -> web.Response:
    request.app[UPKEEP].look(by=request[USER])
    raise web.HTTPSeeOther("/box#checkup-title")


async def fix(request: web.Request) -> web.Response:
    await request.app[UPKEEP].use(remedy_of(request.match_info["remedy"]), by=request[USER])
    raise web.HTTPSeeOther("/box#checkup-title")


async def bundle(request: web.Request) -> web.Response:
    made = await request.app[UPKEEP].bundle(by=request[USER])
    name = f"clawloops-support-{datetime.now(UTC):%Y%m%d-%H%M}.tar.gz"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return web.Response(body=made, content_type="application/gzip", headers=headers)


def remedy_of(name: str) -> Remedy:
    """Raises NotFound."""
    try:
        return Remedy(name)
    except ValueError:
        raise NotFound("There is no such remedy. Look at the box again.") from None
