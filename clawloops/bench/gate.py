"""The gateway's real door for runtimes in a process of its own: `python -m clawloops.bench.gate UPSTREAM DATA`.

All that a call passes is on: its token and address, the fair queue, a budget, the journal. Prints its port once it
listens.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from hashlib import sha256
from pathlib import Path

import uvloop

from clawloops.background import calm_collector
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
from clawloops.log import configure
from clawloops.model.budget import Budget, Measure, Scope, Span
from clawloops.model.provider import Backend, BackendKind, Credential, Model, Place, Route, Target
from clawloops.wire.client import Client

TOKEN = "bench-token-of-a-runtime"  # noqa: S105  # of a gateway that lives for the benchmark
KEY = "bench-key-of-the-upstream"
MODEL = "bench"
JOURNAL = "usage.log"
_SEATS = 1000  # at the backend: every call goes through the queue, and none waits
_POOL = ipaddress.IPv4Network("127.0.0.0/8")


async def main(upstream: str, data: Path) -> None:
    backend = Backend("b-bench", "Bench", BackendKind.OPENAI, f"{upstream}/v1", "", 1, slots=_SEATS)
    model = Model("m-bench", MODEL, (Place(backend.id, MODEL),), 32_768, 4096, True, 1)
    directory = Directory()
    directory.set_routes([Route(model, (Target(backend, MODEL, (Credential("c-bench", KEY),)),))])
    directory.set_runtime(sha256(TOKEN.encode()).digest(), runtime_id="r-bench", user_id="u-bench", address="127.0.0.1")
    budgets = Budgets(on_near=lambda budget, user_id: None)
    limit = Budget("l-bench", Scope.EACH, "", Measure.TOKENS, Span.MONTH, 10**15, is_background=False, created_at=1)
    budgets.set([limit], {}, {}, now=now_ms())
    journal = Journal(data / JOURNAL)
    books = Books(
        journal.append,
        budgets,
        Circles(on_held=lambda runtime_id, why: None),
        is_attended=lambda runtime_id: True,  # the load asks the same over and over
        settled=lambda call: None,
        now_ms=now_ms,
    )
    async with Client(VettedResolver()) as client, asyncio.TaskGroup() as beside:
        beside.create_task(books.run())
        reach = Reach(client, LiteLLM("", ""), Health(), Queue(weight_of=directory.weight_of))
        door = gateway(directory, Proxy(reach, books), pool=_POOL, most_per_peer=0)
        port = await door.listen("127.0.0.1", 0)
        calm_collector()
        print(port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    configure("warning")
    uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
