"""What machines ask: is it up, and which certificate authority signs here."""

from __future__ import annotations

import asyncio

from aiohttp import web

from clawloops import __version__
from clawloops.errors import NotFound
from clawloops.web.context import SITE


async def show(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "version": __version__})


async def certificate(request: web.Request) -> web.Response:
    """This box's own certificate authority, for people who want their browsers to trust it."""
    path = request.app[SITE].ca_file
    if path is None or not path.is_file():
        raise NotFound("This box has no certificate authority of its own.")
    return web.Response(
        body=await asyncio.to_thread(path.read_bytes),
        content_type="application/x-x509-ca-cert",
        headers={"Content-Disposition": 'attachment; filename="clawloops-ca.crt"'},
    )
