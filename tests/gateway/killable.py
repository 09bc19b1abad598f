"""A gateway in a process of its own, for tests that kill it: `python -m tests.gateway.killable UPSTREAM JOURNAL`."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from hashlib import sha256
from pathlib import Path
from typing import IO

from clawloops import log
from clawloops.clock import now_ms
from clawloops.gateway.books import Books
from clawloops.gateway.budgets import Budgets
from clawloops.gateway.circles import Circles
from clawloops.gateway.health import Health
from clawloops.gateway.ingress import gateway
from clawloops.gateway.journal import Journal
from clawloops.gateway.proxy import Proxy
from clawloops.gateway.queue import Queue
from clawloops.gateway.reach import Reach
from clawloops.gateway.resolve import VettedResolver
from clawloops.gateway.route import Directory
from clawloops.gateway.upstreams import LiteLLM
from clawloops.wire.client import Client
from tests.gateway.gate import LOOPBACK, TOKEN, listening, route
from tests.upstream import Upstream

TOKEN_OF_BOB = "runtime-token-of-bob"
ADDRESS_OF_BOB = "127.0.0.2"


async def start(upstream: Upstream, journal: Path, *, stderr: IO[bytes] | None = None) -> tuple[Process, str]:
    """The process, and the address of the gateway in it once it answers there."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, upstream.url, str(journal)), stdout=asyncio.subprocess.PIPE, stderr=stderr
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


async def main(upstream_url: str, journal: Journal) -> None:
    server = Upstream()
    server.url = upstream_url
    directory = Directory()
    directory.set_routes([route(name, server) for name in ("small", "ada", "bob")])
    for token, name, address in ((TOKEN, "ada", "127.0.0.1"), (TOKEN_OF_BOB, "bob", ADDRESS_OF_BOB)):
        directory.set_runtime(
            sha256(token.encode()).digest(), runtime_id=f"r-{name}", user_id=f"u-{name}", address=address
        )
    books = Books(
        journal.append,
        Budgets(on_near=lambda budget, user_id: None),
        Circles(on_held=lambda runtime_id, why: None),
        is_attended=lambda runtime_id: True,  # its callers ask the same over and over
        settled=lambda call: None,
        now_ms=now_ms,
    )
    async with Client(VettedResolver()) as client, asyncio.TaskGroup() as beside:
        beside.create_task(books.run())
        proxy = Proxy(Reach(client, LiteLLM("", ""), Health(), Queue(weight_of=directory.weight_of)), books)
        async with listening(gateway(directory, proxy, pool=LOOPBACK)) as url:
            print(url, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    log.configure("info")
    asyncio.run(main(sys.argv[1], Journal(Path(sys.argv[2]))))
