"""The stylesheet, the script and the icon: read and compressed once, cached by browsers until they change."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from clawloops.errors import NotFound

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOLDER = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class _File:
    kind: str
    plain: bytes
    packed: bytes
    version: str


class Files:
    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {path.name: _read(path) for path in folder.iterdir() if path.suffix in _TYPES}

    def address(self, name: str, *, prefix: str) -> str:
        """Where a page finds a file: the version in it changes with the content. Raises KeyError for an unknown one."""
        return f"{prefix}static/{name}?v={self._files[name].version}"

    def answer(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise NotFound("There is no such file.")
        fixed = request.query.get("v") == file.version
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable" if fixed else "public, max-age=60",
            "Vary": "Accept-Encoding",
        }
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return web.Response(body=file.packed, content_type=file.kind, charset="utf-8", headers=headers)
        return web.Response(body=file.plain, content_type=file.kind, charset="utf-8", headers=headers)


FILES: web.AppKey[Files] = web.AppKey("files", Files)


def _read(path: Path) -> _File:
    plain = path.read_bytes()
    packed = gzip.compress(plain, mtime=0)
    return _File(_TYPES[path.suffix], plain, packed, hashlib.sha256(plain).hexdigest()[:12])


async def show(request: web.Request) -> web.Response:
    return request.app[FILES].answer(request)
