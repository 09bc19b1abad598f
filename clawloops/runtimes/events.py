"""Docker's event stream as "look again at this runtime". A break means "look at all": nothing may rest on an event."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from clawloops.errors import ClawLoopsError
from clawloops.runtimes import names
from clawloops.runtimes.client import Engine

_log = logging.getLogger(__name__)

_FILTERS = {
    "type": ["container", "network"],
    "event": [
        *("create", "start", "die", "oom", "pause", "unpause", "update", "rename", "destroy"),
        *("connect", "disconnect"),
    ],
}


@dataclass(frozen=True, slots=True)
class Look:
    """Look again at one runtime, or at all of them (None: events may be missing, or the edge has moved)."""

    runtime_id: str | None


async def watch(engine: Engine, install_id: str, *, pause_s: float = 1.0) -> AsyncGenerator[Look]:
    """Endless. Reconnects `pause_s` seconds after each break, and yields `Look(None)` once it is connected again."""
    while True:
        stream = _Stream(engine, install_id)
        try:
            stream.start()
            async for look in stream:
                yield look
        finally:
            stream.close()
        yield Look(None)
        await asyncio.sleep(pause_s)


class _Stream:
    """One connection, read by a thread of its own (it blocks for hours, so it has no place in the pool)."""

    def __init__(self, engine: Engine, install_id: str) -> None:
        self._engine = engine
        self._install_id = install_id
        self._loop = asyncio.get_running_loop()
        self._looks: asyncio.Queue[Look | None] = asyncio.Queue()
        self._response: Any = None
        self._closed = False

    def start(self) -> None:
        threading.Thread(target=self._read, name="engine-events", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        if self._response is not None:
            with contextlib.suppress(Exception):
                self._response.close()

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> Look:
        look = await self._looks.get()
        if look is None:
            raise StopAsyncIteration
        return look

    def _read(self) -> None:
        try:
            with contextlib.closing(self._engine.open()) as api:
                self._response = api.events(decode=True, filters=_FILTERS)
                self._put(Look(None))  # connected: whatever happened before is seen by looking at all
                for event in self._response:
                    if self._closed:
                        return
                    if (look := about(event, self._install_id)) is not None:
                        self._put(look)
        except ClawLoopsError as error:
            _log.debug("event stream: %s", error)
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises when a stream is cut: the stream is over
            _log.debug("event stream ended: %r", error)
        finally:
            self._put(None)

    def _put(self, look: Look | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._looks.put_nowait, look)


def about(event: dict[str, Any], install_id: str) -> Look | None:
    """Whom an event (Engine API, `GET /events`) concerns; None when it is not about this install."""
    attributes: dict[str, str] = (event.get("Actor") or {}).get("Attributes") or {}
    if event.get("Type") == "network":  # carries no labels, only the name
        runtime_id = names.runtime_of(attributes.get("name", ""), install_id)
        return Look(runtime_id) if runtime_id else None
    if attributes.get(names.INSTALL) != install_id:
        return None
    return Look(attributes.get(names.RUNTIME))
