"""Whether OpenClaw is ready, and the wait for that. Unknown paths answer 200 with the UI: the JSON is what counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable

import aiohttp

from clawloops.runtimes.spec import PORT

Probe = Callable[[str], Awaitable[bool]]
"""Takes the runtime's IPv4 address; True once it is ready. Never raises."""

POLL_S = 0.25  # between two probes of a runtime that boots

HEADERS = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "clawloops-control"}
"""OpenClaw answers 403 to its trusted proxy, on every path, unless a client address other than the proxy's is named."""


def started(body: bytes) -> bool:
    """Whether `/startupz` says "started", not "starting" or "draining" (OpenClaw, docs/gateway/health.md)."""
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("status") == "started"


def over(session: aiohttp.ClientSession, *, timeout_s: float = 2.0) -> Probe:
    """A probe through `session`, which has to live in the edge's network namespace."""
    limit = aiohttp.ClientTimeout(total=timeout_s)

    async def probe(address: str) -> bool:
        try:
            async with session.get(
                f"http://{address}:{PORT}/startupz", timeout=limit, headers=HEADERS, allow_redirects=False
            ) as answer:
                return answer.status == 200 and started(await answer.content.read(4096))
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False

    return probe


async def rest(seconds: float, woken: asyncio.Event, ready: Callable[[], Awaitable[bool]] | None) -> None:
    """Wait to be woken; with `ready`, also until that says so, asked every POLL_S seconds without asking Docker."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(left, POLL_S) if ready else left):
                await woken.wait()
                return
        if ready and await ready():
            return
