"""The one way from a runtime to the internet: a proxy (CONNECT and plain HTTP) that knows who asks, and whom for.

A runtime is known by where it speaks from: it is alone with the edge on its network, so nobody else's packets come from
its address there (docs/decisions/0031). A name is resolved once, and what was looked at is what is connected to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from clawloops.gateway.asking import Asking
from clawloops.gateway.destinations import Network, is_public
from clawloops.gateway.outside import Outside
from clawloops.gateway.permits import Permits
from clawloops.gateway.receipts import Receipts
from clawloops.gateway.route import Caller, Directory
from clawloops.gateway.tunnel import Tunnel
from clawloops.gateway.wanted import MOST_HEADER, NotWanted, Wanted, read
from clawloops.model.decoy import Place, Spot, unnoticed
from clawloops.model.egress import Outcome, Verdict, canonical

MOST_CONNECTIONS = 128  # that one runtime keeps open
MOST_IN_ALL = 2048  # that all of them keep open, each with two sockets
BURST, PER_S = 200, 30  # connections that one runtime may begin at once, and each second
_READ_AHEAD = 16 * 1024  # bytes from a host that the runtime has not taken
HEAD_WITHIN_S = 30.0  # from the beginning of a connection
CONNECT_S = 10.0  # to one of the addresses, the look-up of the name included
LOOK_EVERY_S = 1.0  # whether what is open may still be
log = logging.getLogger(__name__)

_WHY: dict[Outcome, str] = {
    Outcome.UNLISTED: "is not on the list of this workspace; its member can allow it on the dashboard",
    Outcome.DENIED: "is refused to this workspace on the dashboard",
    Outcome.OFF: "is out of reach: this workspace has no internet access; an admin can give it some",
    Outcome.PRIVATE: "leads to no public address; agents reach neither your network nor this box",
    Outcome.MAIL: "cannot be reached on port 25; send mail through a provider's port 465 or 587",
    Outcome.DECOY: "is not sent this: it carries a key that is not to be used",
    Outcome.FAILED: "did not answer",
}
_REFUSED = {
    Verdict.ASK: Outcome.UNLISTED,  # and nobody has answered
    Verdict.UNLISTED: Outcome.UNLISTED,
    Verdict.DENIED: Outcome.DENIED,
    Verdict.OFF: Outcome.OFF,
    Verdict.MAIL: Outcome.MAIL,
}


class _Refused(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection that passed, and whose it is."""

    caller: Caller
    wanted: Wanted
    tunnel: Tunnel


class EgressProxy:
    def __init__(
        self,
        directory: Directory,
        permits: Permits,
        asking: Asking,
        receipts: Receipts,
        *,
        pool: ipaddress.IPv4Network,
        outside: Outside,
        but: Sequence[Network] = (),
        most: int = MOST_IN_ALL,
        spot: Spot = unnoticed,
    ) -> None:
        """`pool` holds every member network. `but`: public addresses that nobody is let to, as those of this box.

        `most`: connections that all runtimes together keep open. `spot`: looks for decoys in what can be read.
        """
        self._directory = directory
        self._permits = permits
        self._asking = asking
        self._receipts = receipts
        self._pool = pool
        self._outside = outside
        self._but = tuple(but)
        self._most = most
        self._spot = spot
        self._count: dict[str, int] = {}  # connections by peer
        self._credit: dict[str, tuple[float, float]] = {}  # by peer: connections that it may begin, as of when
        self._judged = -1  # version of the permits that all of them were held against
        self._open: set[_Open] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Returns the port, for a `port` of 0 the one that was free. Raises OSError."""
        self._listening = await asyncio.start_server(self._take, host, port, limit=MOST_HEADER, backlog=64)
        self._look()
        found: int = self._listening.sockets[0].getsockname()[1]
        return found

    async def close(self, *, within_s: float) -> None:
        """End everything: what goes through has no end of its own that could be waited for."""
        if self._watch is not None:
            self._watch.cancel()
        if self._listening is not None:
            self._listening.close()
        for task in tuple(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=within_s)
        self._outside.close()

    def _look(self) -> None:
        """Whoever was shut out, stopped or refused meanwhile is cut off."""
        self._asking.sweep()
        now = asyncio.get_running_loop().time()
        has_changed, self._judged = self._permits.version != self._judged, self._permits.version
        for each in tuple(self._open):
            place = each.wanted.host, each.wanted.port
            if each.tunnel.is_idle(now) or not self._may_stay(each.caller, *place, judge=has_changed):
                each.tunnel.abort()
        self._credit = {peer: each for peer, each in self._credit.items() if now - each[1] < BURST / PER_S}
        self._watch = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _may_stay(self, caller: Caller, host: str, port: int, *, judge: bool = True) -> bool:
        if self._directory.at(caller.address) != caller:
            return False
        return not judge or self._permits.allows(caller.user_id, host, port)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """In a task of our own: asyncio reports one of its own that is cancelled as a fault."""
        task = asyncio.get_running_loop().create_task(self._admit(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = (writer.get_extra_info("peername") or ("",))[0]
        caller = self._caller(peer, (writer.get_extra_info("sockname") or ("",))[0])
        count = self._count.get(peer, 0)
        full = count >= MOST_CONNECTIONS or sum(self._count.values()) >= self._most
        if caller is None or full or not self._may_begin(peer):
            writer.transport.abort()
            return
        self._count[peer] = count + 1
        try:
            await self._serve(caller, reader, writer)
        except (OSError, EOFError):
            writer.transport.abort()
        except Exception:
            log.exception("a connection of runtime %s to the internet broke us", caller.runtime_id)
            writer.transport.abort()
        finally:
            self._count[peer] -= 1
            if not self._count[peer]:
                del self._count[peer]
            writer.close()

    def _may_begin(self, peer: str) -> bool:
        """Whether it has not just begun too many: each takes a quarter of a millisecond of everybody's loop."""
        now = asyncio.get_running_loop().time()
        credit, since = self._credit.get(peer, (float(BURST), now))
        credit = min(float(BURST), credit + (now - since) * PER_S)
        self._credit[peer] = (credit - (credit >= 1), now)
        return credit >= 1

    def _caller(self, peer: str, local: str) -> Caller | None:
        """Both ends in the pool: with NET_ADMIN a runtime could reach any address of the edge."""
        if not local or ipaddress.ip_address(local) not in self._pool:
            return None
        return self._directory.at(peer)

    async def _serve(self, caller: Caller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
            wanted = read(head)
        except NotWanted as error:
            self._spot(head.decode("latin-1"), Place.INTERNET, caller.runtime_id)  # it is not passed on anyway
            return await _answer(writer, error.status, str(error))
        except asyncio.LimitOverrunError:
            return await _answer(writer, 431, "The header is too long.")
        except TimeoutError:
            return await _answer(writer, 408, "The header has not come in time.")
        place = (caller.user_id, wanted.host, wanted.port)
        try:
            self._look_through(caller, head)
            await self._decide(place, reader, writer)
            address, onward = await self._connect(caller, place)
        except _Refused as refused:
            self._receipts.note(*place, refused.outcome)
            status = 502 if refused.outcome is Outcome.FAILED else 403
            return await _answer(writer, status, f"{wanted.host} {_WHY[refused.outcome]}")
        self._receipts.note(*place, Outcome.PASSED, address=address)
        return await self._carry(caller, wanted, (reader, writer), onward)

    def _look_through(self, caller: Caller, head: bytes) -> None:
        """Raises _Refused where a decoy is in it."""
        if self._spot(head.decode("latin-1"), Place.INTERNET, caller.runtime_id):
            raise _Refused(Outcome.DECOY)

    async def _decide(
        self, place: tuple[str, str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Return where it may be connected to. Raises _Refused."""
        if self._permits.decide(*place) is Verdict.ASK:
            await self._asking.ask(*place, is_over=lambda: reader.at_eof() or writer.is_closing())
        verdict = self._permits.decide(*place)
        if verdict in _REFUSED:
            raise _Refused(_REFUSED[verdict])

    async def _connect(
        self, caller: Caller, place: tuple[str, str, int]
    ) -> tuple[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """The address that was connected to, and the connection. Raises _Refused."""
        user_id, host, port = place
        try:
            async with asyncio.timeout(CONNECT_S):
                found = await self._outside.addresses(user_id, host, port)
                allowed = [each for each in found if self._is_allowed(user_id, str(each[4][0]), port)]
                if not allowed:
                    raise _Refused(Outcome.PRIVATE)
                connected = await self._outside.connect(allowed)
                address = str(connected.getpeername()[0])
                onward = await asyncio.open_connection(sock=connected, limit=_READ_AHEAD)
        except (OSError, TimeoutError) as error:
            log.debug("%s:%d for %s: %s", host, port, user_id, error)
            raise _Refused(Outcome.FAILED) from error
        if not self._may_stay(caller, host, port):  # it may have changed meanwhile
            onward[1].transport.abort()
            raise _Refused(Outcome.DENIED)
        if self._permits.decide(*place) is Verdict.LEARN:
            self._permits.learn(*place)
        return address, onward

    def _is_allowed(self, user_id: str, address: str, port: int) -> bool:
        """A refused address is not reached by a name of it either."""
        host = canonical(f"[{address}]" if ":" in address else address)
        if host is None or not is_public(host, but=self._but):
            return False
        return self._permits.decide(user_id, host, port) is not Verdict.DENIED

    async def _carry(
        self,
        caller: Caller,
        wanted: Wanted,
        runtime: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        onward: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        place = (caller.user_id, wanted.host, wanted.port)
        tunnel = Tunnel(
            runtime,
            onward,
            moved=lambda sent, received: self._receipts.moved(*place, sent=sent, received=received),
        )
        open_ = _Open(caller, wanted, tunnel)
        self._open.add(open_)
        try:
            if wanted.head:
                await tunnel.request(wanted.head, wanted.length)
            else:
                runtime[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await tunnel.both()
        finally:
            self._open.discard(open_)
            tunnel.abort()


async def _answer(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    """The text stands in the status line too: clients show that of a tunnel, and seldom the body."""
    body = f"ClawLoops: {text}.\n".replace("..\n", ".\n").encode("ascii", "replace")
    writer.write(
        b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
        % (status, body.strip(), len(body), body)
    )
    with suppress(OSError):
        async with asyncio.timeout(HEAD_WITHIN_S):
            await writer.drain()
