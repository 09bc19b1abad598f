"""The gateway's door for members' own tools, opened for a box: what asks a model on the dashboard goes through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clawloops.clock import now_ms
from clawloops.gateway.books import Books
from clawloops.gateway.ingress import members_door
from clawloops.gateway.proxy import Proxy
from clawloops.gateway.reach import Reach
from clawloops.gateway.resolve import VettedResolver
from clawloops.gateway.upstreams import LiteLLM
from clawloops.wire.client import Client
from tests.web.box import Box


@asynccontextmanager
async def tools_door(box: Box) -> AsyncIterator[None]:
    """Let it listen, with the books of the box."""
    async with Client(VettedResolver()) as client:
        books = Books(
            box.journal.append,
            box.budgets.gateway,
            box.burn.circles,
            is_attended=lambda runtime_id: True,
            settled=lambda call: None,
            now_ms=now_ms,
        )
        door = members_door(box.directory, Proxy(Reach(client, LiteLLM("", ""), box.health, box.queue), books))
        await door.listen("127.0.0.1", box.tools_port)
        looking = asyncio.create_task(books.run())
        try:
            yield
        finally:
            looking.cancel()
            await door.close(within_s=0.1)
