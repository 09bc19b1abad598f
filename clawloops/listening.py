"""Opens the listeners, each until the stack unwinds."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Protocol

from aiohttp import web

from clawloops.errors import SetupError

_STOP_WITHIN_S = 3.0  # then what is still answered is cut
_IDLE_S = 75.0  # that a browser's connection is kept without a request


def open_files() -> int:
    """How many files and connections this process may have open from now on: as many as whoever started it lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


MOST_FIELD = 1 << 20  # bytes of a header field: any page below this host's domain can set many cookies for all of it


async def serve_pages(stack: AsyncExitStack, app: web.Application, address: str) -> None:
    """Let aiohttp serve `app`. A browser that leaves cancels its handler. Raises SetupError where the port is taken."""
    served = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=_IDLE_S,
        max_field_size=MOST_FIELD,
        auto_decompress=False,  # no page takes a packed body, and none is to be unpacked
        shutdown_timeout=_STOP_WITHIN_S,
    )
    await served.setup()
    stack.push_async_callback(served.cleanup)
    host, _, port = address.rpartition(":")
    with _taken(address):
        await web.TCPSite(served, host, int(port)).start()


class Door(Protocol):
    """What listens at an address of its own."""

    async def listen(self, host: str, port: int) -> int: ...

    async def close(self, *, within_s: float) -> None: ...


async def open_door(stack: AsyncExitStack, door: Door, address: str) -> None:
    """Let a door of the gateway, or ForwardAuth, listen. Raises SetupError where the port is taken."""
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
