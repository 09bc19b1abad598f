"""A TLS server in Traefik's place: it shows whatever certificate a test puts into it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from clawloops.certificates.pair import Pair
from clawloops.control.certificates import Certificates
from clawloops.model.certificate import Tls
from tests.web.box import BASE, Box


class Shown:
    def __init__(self, folder: Path) -> None:
        self._file = folder / "shown.pem"
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def show(self, pair: Pair) -> None:
        """To whoever connects from now on."""
        self._file.write_text(pair.chain + pair.key)
        self.context.load_cert_chain(self._file)


@asynccontextmanager
async def showing(box: Box, folder: Path, tls: Tls, pair: Pair) -> AsyncIterator[Shown]:
    """The box's dashboard opened anew, looking at such a server."""
    shown = Shown(folder)
    shown.show(pair)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=shown.context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        box.certificates = Certificates(tls, BASE, address="127.0.0.1", problem=folder / "problem", port=port)
        await box.close_dashboard()
        await box.open_dashboard()
        yield shown
