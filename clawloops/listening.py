"""Opens the listeners, each until the stack unwinds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from aiohttp import web

from clawloops.errors import SetupError
from clawloops.wire.server import Server

_STOP_WITHIN_S = 3.0  # then what is still answered is cut
_IDLE_S = 75.0  # that a browser's connection is kept without a request


async def serve_pages(stack: AsyncExitStack, app: web.Application, address: str) -> None:
    """Let aiohttp serve `app`. A browser that leaves cancels its handler. Raises SetupError where the port is taken."""
    served = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=_IDLE_S,
        auto_decompress=False,  # no page takes a packed body, and none is to be unpacked
        shutdown_timeout=_STOP_WITHIN_S,
    )
    await served.setup()
    stack.push_async_callback(served.cleanup)
    host, _, port = address.rpartition(":")
    with _taken(address):
        await web.TCPSite(served, host, int(port)).start()


async def open_door(stack: AsyncExitStack, door: Server, address: str) -> None:
    """Let a door of the gateway listen. Raises SetupError where the port is taken."""
    stack.push_async_callback(door.close, within_s=_STOP_WITHIN_S)
    host, _, port = address.rpartition(":")
    with _taken(address):
        await door.listen(host, int(port))


@contextmanager
def _taken(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(f"cannot listen on {address}: {error.strerror}; is another control plane running?") from error
