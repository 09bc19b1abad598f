"""What machines ask: is it up?"""

from __future__ import annotations

from aiohttp import web

from clawloops import __version__


async def show(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "version": __version__})
