"""`clawloops guard`: opens the two sockets and serves until it is told to end.

A program of its own, so that nothing of the control plane is loaded into the process that holds the Docker socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from aiohttp import web

from clawloops.config import Settings, load
from clawloops.errors import ClawLoopsError, SetupError
from clawloops.guard.doors import control_door, traefik_door
from clawloops.guard.engine import Engine
from clawloops.guard.policy import Policy
from clawloops.log import configure

_log = logging.getLogger(__name__)

_STOP_WITHIN_S = 3.0


def main() -> int:
    """Serve. Returns the exit status: 0 told to end, 1 a failure that its text explains."""
    try:
        settings = load(os.environ)
        configure(settings.log_level)
        uvloop.run(_serve(settings))
    except ClawLoopsError as error:
        print(f"clawloops guard: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    if not settings.engine.startswith("unix://"):
        raise SetupError("CLAWLOOPS_ENGINE must be a unix:// address: the guard speaks to a socket of this host")
    engine = Engine(Path(settings.engine.removeprefix("unix://")))
    policy = Policy(settings.install, settings.runtime_pool)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.close)
        await listen(stack, control_door(policy, engine), settings.guard / "engine" / "docker.sock")
        await listen(stack, traefik_door(policy, engine), settings.guard / "routes" / "docker.sock")
        _log.info("the guard of install %s is up", settings.install_id)
        await ended.wait()


async def listen(stack: AsyncExitStack, app: web.Application, socket: Path) -> None:
    """Serve `app` on a socket that only its owner may open. Raises SetupError where it cannot be made."""
    runner = web.AppRunner(
        app, handler_cancellation=True, access_log=None, auto_decompress=False, shutdown_timeout=_STOP_WITHIN_S
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    before = os.umask(0o177)
    try:
        await asyncio.to_thread(socket.unlink, missing_ok=True)  # of a guard that was killed
        await web.UnixSite(runner, str(socket)).start()
    except OSError as error:
        raise SetupError(
            f"the guard's socket {socket} cannot be made ({error.strerror}); is its folder there?"
        ) from error
    finally:
        os.umask(before)


if __name__ == "__main__":
    sys.exit(main())
