"""A gateway and the scriptable upstream behind it, each a real server on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import aiohttp

from clawloops.clock import now_ms
from clawloops.gateway import ingress
from clawloops.gateway.books import Books
from clawloops.gateway.budgets import Budgets
from clawloops.gateway.circles import Circles
from clawloops.gateway.health import Health
from clawloops.gateway.journal import Record
from clawloops.gateway.proxy import Proxy
from clawloops.gateway.queue import Queue
from clawloops.gateway.reach import Reach
from clawloops.gateway.resolve import VettedResolver
from clawloops.gateway.route import Directory
from clawloops.gateway.upstreams import LiteLLM
from clawloops.model.budget import Budget
from clawloops.model.provider import Backend, BackendKind, Credential, Model, Place, Route, Target
from clawloops.model.usage import Call, Opened, Tokens
from clawloops.wire.client import Client
from clawloops.wire.server import Server
from tests.upstream import Upstream

TOKEN = "runtime-token-of-ada"
KEY = "sk-canary-4f9d2c71b8a6"
LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


@dataclass
class Gateway:
    url: str
    directory: Directory
    upstream: Upstream
    session: aiohttp.ClientSession  # a runtime's own client
    health: Health
    proxy: Proxy
    queue: Queue
    budgets: Budgets
    books: Books
    attended: set[str]  # ids of runtimes that a person is at
    settled: list[Call] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    written: list[Record] = field(default_factory=list)
    near: list[tuple[Budget, str]] = field(default_factory=list)  # budgets of which most is used, and whose
    held: list[tuple[str, str]] = field(default_factory=list)

    def serve_model(self, name: str, *, upstream: str | None = None, **backend: Any) -> None:
        """Add a public name that leads to the scriptable upstream (or where `backend` says)."""
        self.directory.set_routes([*self.directory.routes(), route(name, self.upstream, upstream, **backend)])

    def estimated(self, tokens: Tokens) -> Tokens:
        """These, and where no input was told, as much as was estimated for the latest call."""
        opened = [each for each in self.written if isinstance(each, Opened)]
        return tokens if tokens.input else replace(tokens, input=opened[-1].input)

    async def post(self, model: str, *, path: str = "/v1/chat/completions", **fields: Any) -> aiohttp.ClientResponse:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
        if path == "/v1/embeddings":
            body = {"model": model, "input": "Hello"}
        return await self.session.post(self.url + path, json=body)


def route(
    name: str,
    server: Upstream,
    upstream: str | None = None,
    *,
    kind: BackendKind = BackendKind.OPENAI,
    url: str | None = None,
    provider: str = "",
    key: str | None = KEY,
    slots: int = 0,
) -> Route:
    address = url if url is not None else server.url + ("/v1" if kind is BackendKind.OPENAI else "")
    backend = Backend("b" + "0" * 16, "Lab server", kind, address, provider, 1_700_000_000_000, slots)
    credentials = (Credential("c-" + key, key),) if key else ()
    return Route(named(name, Place(backend.id, upstream or name)), (Target(backend, upstream or name, credentials),))


def named(name: str, *places: Place) -> Model:
    return Model("m-" + name, name, places, 128_000, 8_192, False, 1_700_000_000_000)


@asynccontextmanager
async def listening(door: Server) -> AsyncIterator[str]:
    """Let `door` listen; yields its address."""
    try:
        yield f"http://127.0.0.1:{await door.listen('127.0.0.1', 0)}"
    finally:
        await door.close(within_s=0.1)


@asynccontextmanager
async def open_gateway(
    upstream: Upstream,
    *,
    litellm_url: str = "",
    litellm_key: str = "",
    pool: ipaddress.IPv4Network = LOOPBACK,
    write: Callable[[Record], None] | None = None,
) -> AsyncIterator[Gateway]:
    settled: list[Call] = []
    written: list[Record] = []
    near: list[tuple[Budget, str]] = []
    held: list[tuple[str, str]] = []
    refused: list[tuple[str, str]] = []
    attended = {"r-ada"}
    directory = Directory(on_refused=lambda runtime_id, peer: refused.append((runtime_id, peer)))
    directory.set_runtime(sha256(TOKEN.encode()).digest(), runtime_id="r-ada", user_id="u-ada", address="127.0.0.1")
    async with (
        Client(VettedResolver()) as outward,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as own,
    ):
        health = Health()
        queue = Queue(weight_of=directory.weight_of)
        reach = Reach(outward, LiteLLM(litellm_url, litellm_key), health, queue)
        budgets = Budgets(on_near=lambda budget, user_id: near.append((budget, user_id)))
        books = Books(
            write or written.append,
            budgets,
            Circles(on_held=lambda runtime_id, why: held.append((runtime_id, why))),
            is_attended=attended.__contains__,
            settled=settled.append,
            now_ms=now_ms,
        )
        proxy = Proxy(reach, books)
        async with listening(ingress.gateway(directory, proxy, pool=pool, most_per_peer=0)) as url:
            looking = asyncio.create_task(books.run())
            try:
                yield Gateway(
                    url, directory, upstream, own, health, proxy, queue, budgets, books, attended, settled, refused,
                    written, near, held,
                )  # fmt: skip
            finally:
                looking.cancel()
