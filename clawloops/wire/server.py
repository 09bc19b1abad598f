"""The side that callers speak to: listens, keeps the connections and their time limits, and ends them.

One request of a connection is answered at a time; what was sent ahead of its turn waits, within bounds. A caller who
leaves cancels the handler. Bytes that llhttp does not take for HTTP/1.1 end the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from clawloops.wire.connection import Connection
from clawloops.wire.recall import AtOnce, RecallingConnection
from clawloops.wire.request import Reply, Request

Handler = Callable[[Request], Awaitable[Reply | None]]
"""Answers a request: with the reply, or with None where it has begun and ended one itself."""


class Server:
    """One listening socket."""

    def __init__(
        self,
        handler: Handler,
        refused: Callable[[int], Reply],
        *,
        at_once: AtOnce | None = None,
        idle_s: float = 75.0,
        takes_s: float = 30.0,
        most_per_peer: int = 0,
    ) -> None:
        """`refused(status)`: the answer to what is no request at all (400, 429, 431), and to one that broke us (500).
        `at_once`: the short way to an answer, where the handler has one.

        A connection is closed after `idle_s` without a whole header, at its start and between two requests, and after
        `takes_s` in which the caller takes nothing of an answer. A peer that keeps `most_per_peer` of them open gets no
        other one (0: as many as it likes).
        """
        self.handler = handler
        self.refused = refused
        self.idle_s = idle_s
        self.takes_s = takes_s
        self.is_closing = False
        self._at_once = at_once
        self._most_per_peer = most_per_peer
        self._peers: dict[str, int] = {}
        self._connections: set[Connection] = set()
        self._listening: asyncio.Server | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Returns the port, for a `port` of 0 the one that was free. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._connection, host, port, backlog=1024)
        self._look()
        found: int = self._listening.sockets[0].getsockname()[1]
        return found

    async def close(self, *, within_s: float) -> None:
        """Take no more calls; running ones get `within_s`, and are cancelled then."""
        self.is_closing = True
        if self._watch is not None:
            self._watch.cancel()
        if self._listening is not None:
            self._listening.close()
        for connection in tuple(self._connections):
            connection.close_when_idle()
        tasks = {each.task for each in self._connections if each.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        for connection in tuple(self._connections):
            connection.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connection(self) -> Connection:
        return Connection(self) if self._at_once is None else RecallingConnection(self, self._at_once)

    def _look(self) -> None:
        """One timer for all connections."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            connection.look(now)
        self._watch = loop.call_later(min(1.0, self.idle_s, self.takes_s), self._look)

    def opened(self, connection: Connection) -> bool:
        """Returns whether it may stay."""
        self._connections.add(connection)
        open_ = self._peers[connection.peer] = self._peers.get(connection.peer, 0) + 1
        return not 0 < self._most_per_peer < open_

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._peers[connection.peer] -= 1
        if not self._peers[connection.peer]:
            del self._peers[connection.peer]
