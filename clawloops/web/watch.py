"""Something that stays open (SSE, a WebSocket) and must notice when its session, its runtime or this process ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from clawloops.model.account import Session
from clawloops.web.context import BOARD, SESSIONS


class Watch:
    """Tells that there may be news; what is true is asked of the services, never taken from an event."""

    def __init__(self, app: web.Application, session: Session) -> None:
        self._app = app
        self._session = session
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """The session was revoked or has run out."""
        return not self._app[SESSIONS].is_live(self._session)

    @property
    def is_closing(self) -> bool:
        """This process is going down; the browser comes back by itself."""
        return self._app[WATCHES].closing

    def note_use(self) -> None:
        """A person was at it just now."""
        self._app[SESSIONS].use(self._session)

    def wake(self) -> None:
        self._changed.set()

    async def news(self, *, within_s: float) -> None:
        """Return at the next change, or after `within_s` seconds: a session also ends by itself."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        self._changed.clear()


class Watches:
    """All open watches of an application, so that shutting down does not wait for people to close their tabs."""

    def __init__(self) -> None:
        self._open: set[Watch] = set()
        self.closing = False

    async def close(self, _: web.Application) -> None:
        self.closing = True
        for each in self._open:
            each.wake()

    @contextlib.asynccontextmanager
    async def open(self, app: web.Application, session: Session, runtime_id: str) -> AsyncIterator[Watch]:
        """Watch from now on. Look at the state after entering: what changed before is not told."""
        watch = Watch(app, session)
        revoked = app[SESSIONS].on_revoked.subscribe(session.hash.hex())
        seen = app[BOARD].bus.subscribe(runtime_id)
        with revoked as revocations, seen as views:
            tasks = [asyncio.create_task(_follow(each, watch)) for each in (revocations, views)]
            self._open.add(watch)
            try:
                yield watch
            finally:
                self._open.discard(watch)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


WATCHES: web.AppKey[Watches] = web.AppKey("watches", Watches)


async def _follow(stream: AsyncIterator[Any], watch: Watch) -> None:
    async for _ in stream:
        watch.wake()
