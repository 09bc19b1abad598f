"""Looks at every part of a running box and says, line by line, what is well and what to do about the rest."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Awaitable, Callable

import aiohttp

from clawloops import ground
from clawloops.config import Settings
from clawloops.errors import ClawLoopsError
from clawloops.runtimes import images
from clawloops.runtimes.client import Engine

LOW_DISK_BYTES = 2 * 1024**3
WAIT_S = 5

Finding = str | None
"""None: well. Otherwise what is wrong, and what to do."""


async def examine(settings: Settings) -> int:
    """Print one line for each check. Returns 0 when all are well, 1 otherwise."""
    checks: list[tuple[str, Callable[[Settings], Awaitable[Finding]]]] = [
        ("disk", _disk),
        ("database and master key", _store),
        ("audit", _audit),
        ("Docker Engine and OpenClaw image", _engine),
        ("workspace addresses", _names),
        ("Ollama", lambda each: _answers(each.ollama_url, "/api/version", "docker compose logs ollama")),
        ("LiteLLM", lambda each: _answers(each.litellm_url, "/health/liveliness", "docker compose logs litellm")),
        ("control plane", lambda each: _answers(f"http://{each.listen}", "/healthz", "docker compose logs clawloops")),
    ]
    failed = 0
    for name, check in checks:
        try:
            finding = await check(settings)
        except ClawLoopsError as error:
            finding = str(error)
        failed += finding is not None
        print(f"ok    {name}" if finding is None else f"FAIL  {name}: {finding}", flush=True)
    return 1 if failed else 0


async def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.data).free
    if free >= LOW_DISK_BYTES:
        return None
    return f"{free // 1024**2} MiB are free under {settings.data}; make it 2 GiB (docker system df shows what uses it)"


async def _store(settings: Settings) -> Finding:
    async with ground.store(settings) as db:
        await ground.open_seal(db, settings)
    return None


async def _audit(settings: Settings) -> Finding:
    async with ground.store(settings) as db:
        found = await (await ground.open_audit(db, settings)).verify()
    return f"entry {found.seq}: {found.why}; see: clawloops audit verify" if found.why else None


async def _engine(settings: Settings) -> Finding:
    engine = Engine(settings.engine)
    try:
        if await images.present(engine, settings.openclaw_image):
            return None
        return f"the image {settings.openclaw_image} is not there; run ./install.sh, which makes it"
    finally:
        engine.close()


async def _names(settings: Settings) -> Finding:
    """Browsers resolve *.localhost by themselves (RFC 6761); any other name needs a DNS record."""
    if settings.base.endswith("localhost"):
        return None
    host = f"x.ws.{settings.base}"
    try:
        await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        base = settings.base
        return f"{host} does not resolve; add the DNS records  {base} A <this box>  and  *.ws.{base} A <this box>"
    return None


async def _answers(url: str, path: str, see: str) -> Finding:
    if not url:
        return None
    try:
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url + path) as answer:
            return None if answer.status < 500 else f"{url} answers {answer.status}; look at: {see}"
    except (aiohttp.ClientError, TimeoutError, OSError):
        return f"{url} does not answer; look at: {see}"
