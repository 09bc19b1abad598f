"""The internet as this machine sees it: names are looked up and addresses connected to.

Looking up happens in threads of its own, so that slow names hold up neither us nor, past a few, each other.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from aiohappyeyeballs import AddrInfoType, start_connection

_THREADS = 256
_EYEBALLS_S = 0.25
_MOST_DIALLED = 2  # of each family
_MOST_EACH = 4  # that wait for one member


class Outside:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lookup")
        self._waiting: dict[str, int] = {}

    async def addresses(self, user_id: str, host: str, port: int) -> list[AddrInfoType]:
        """All of a name's, or an address as it is. Raises OSError."""
        try:
            version = ip_address(host).version
        except ValueError:
            return await self._names(user_id, host, port)
        address = (host, port) if version == 4 else (host, port, 0, 0)
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    async def connect(self, addresses: list[AddrInfoType]) -> socket.socket:
        """To the first of them that answers (RFC 8305), a few at most: a name may have hundreds. Raises OSError."""
        families = [[each for each in addresses if each[0] is family] for family in (socket.AF_INET, socket.AF_INET6)]
        wanted = [each for few in families for each in few[:_MOST_DIALLED]]
        return await start_connection(wanted, happy_eyeballs_delay=_EYEBALLS_S)

    async def _names(self, user_id: str, host: str, port: int) -> list[AddrInfoType]:
        if self._waiting.get(user_id, 0) >= _MOST_EACH:
            raise OSError("too many names are being looked up for this workspace")
        self._waiting[user_id] = self._waiting.get(user_id, 0) + 1
        looking = asyncio.get_running_loop().run_in_executor(self._threads, self.look_up, host, port)
        looking.add_done_callback(lambda done: self._done(user_id, done))
        return await asyncio.shield(looking)

    def look_up(self, host: str, port: int) -> list[AddrInfoType]:
        """In a thread. Raises OSError."""
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, user_id: str, looked: asyncio.Future[list[AddrInfoType]]) -> None:
        """A thread goes on when nobody waits any more."""
        if not looked.cancelled():
            looked.exception()  # marks it as seen
        self._waiting[user_id] -= 1
        if not self._waiting[user_id]:
            del self._waiting[user_id]
