"""This box's own certificate authority: what it is, how each system is told to trust it, and the file itself."""

from __future__ import annotations

import asyncio
import hashlib
import ssl

from aiohttp import web

from clawloops.errors import NotFound
from clawloops.web.context import SITE
from clawloops.web.pages import render


async def show(request: web.Request) -> web.Response:
    text = await _authority(request)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest().upper()
    pairs = [digest[at : at + 2] for at in range(0, len(digest), 2)]
    return render(request, "trust.html", fingerprint=[":".join(pairs[:16]), ":".join(pairs[16:])])


async def download(request: web.Request) -> web.Response:
    return web.Response(
        text=await _authority(request),
        content_type="application/x-x509-ca-cert",
        headers={"Content-Disposition": 'attachment; filename="clawloops-ca.crt"'},
    )


async def _authority(request: web.Request) -> str:
    """Raises NotFound where certificates come from elsewhere, or the authority is only being made."""
    path = request.app[SITE].ca_file
    if path is None or not path.is_file():
        raise NotFound("This box has no certificate authority of its own.")
    return await asyncio.to_thread(path.read_text)
