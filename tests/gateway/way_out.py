"""An egress proxy, a host on the internet that it may lead to, and a runtime that speaks to it; all on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from aiohappyeyeballs import AddrInfoType

from clawloops.gateway.asking import Asking
from clawloops.gateway.destinations import networks
from clawloops.gateway.egress import EgressProxy
from clawloops.gateway.outside import Outside
from clawloops.gateway.permits import Permits
from clawloops.gateway.receipts import Receipts
from clawloops.gateway.route import Directory
from clawloops.model.decoy import Spot, unnoticed
from clawloops.model.egress import EVERYBODY, Mode, Outcome, Policy, Rule, Source, placed

POOL = ipaddress.IPv4Network("127.0.0.0/29")
ADA, MIA = "127.0.0.1", "127.0.0.2"
PUBLIC = "93.184.215.14"
MANY = 3_000_000  # bytes


class Internet(Outside):
    """Names lead to `PUBLIC` or where a test says, and at every public address stands the same host."""

    def __init__(self) -> None:
        super().__init__()
        self.host_port = 0
        self.dialled: list[str] = []
        self.told: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.slow: set[str] = set()  # names whose look-up takes until `go`
        self.go = asyncio.Event()

    async def addresses(self, user_id: str, host: str, port: int) -> list[AddrInfoType]:
        self.asked.append(host)
        if host in self.slow:
            await self.go.wait()
        found = self.told.get(host, [host if host[0].isdigit() or ":" in host else PUBLIC])
        look = super().addresses
        return [info for each in found for info in await look(user_id, each, port)]

    async def connect(self, addresses: list[AddrInfoType]) -> socket.socket:
        self.dialled += [str(each[4][0]) for each in addresses]
        return await super().connect(await super().addresses("", "127.0.0.1", self.host_port))


@dataclass
class WayOut:
    port: int
    directory: Directory
    permits: Permits
    asking: Asking
    receipts: Receipts
    internet: Internet
    host: Host
    learned: list[tuple[str, str, int]]
    proxy: EgressProxy

    def set(self, mode: Mode = Mode.LISTED, *, asks: bool = False, user_id: str = "u-ada") -> None:
        self.permits.set_policy(user_id, Policy(mode, asks))

    def rules(self, *places: str, user_id: str = "u-ada", refused: tuple[str, ...] = ()) -> None:
        made = [(place, True) for place in places] + [(place, False) for place in refused]
        self.permits.set_rules(user_id, [rule(place, user_id, allows=allows) for place, allows in made])

    def outcomes(self) -> list[tuple[str, int, Outcome]]:
        return [(each.host, each.port, each.outcome) for each in self.receipts.take()]

    async def connect(self, source: str = ADA) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))

    async def ask(self, sent: bytes, *, source: str = ADA) -> bytes:
        """All that is answered until the proxy closes."""
        reader, writer = await self.connect(source)
        writer.write(sent)
        answer = await until_cut(reader)
        writer.close()
        return answer

    async def tunnel(
        self, place: str, *, source: str = ADA
    ) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """The head of the answer to CONNECT, and the open tunnel."""
        reader, writer = await self.connect(source)
        writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            return await reader.readuntil(b"\r\n\r\n"), reader, writer


async def until_cut(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, in whichever way."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


@dataclass
class Host:
    """A server that says what it was sent: `echo` for a tunnel, an answer for each request."""

    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            first = await reader.readexactly(4)
            if first == b"WAIT":
                await asyncio.sleep(30)
                return
            if first == b"MANY":
                writer.write(bytes(MANY))
                await writer.drain()
                return
            if first == b"ECHO":
                while piece := await reader.read(65536):
                    writer.write(piece)
                    await writer.drain()
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"length" in line.lower()), 0)
            self.bodies.append(await reader.readexactly(length))
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthere")
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            self.open -= 1
            writer.close()


def rule(place: str, user_id: str, *, allows: bool = True, source: Source = Source.SET) -> Rule:
    found = placed(place)
    if found is None:
        raise ValueError(place)
    return Rule("e-" + place, user_id, *found, allows, source)


@asynccontextmanager
async def open_way_out(
    outside: Outside | None = None, but: str = "", most: int = 2048, spot: Spot = unnoticed
) -> AsyncIterator[WayOut]:
    directory, learned = Directory(), list[tuple[str, str, int]]()
    directory.set_runtime(sha256(b"ada").digest(), runtime_id="r-ada", user_id="u-ada", address=ADA)
    directory.set_runtime(sha256(b"mia").digest(), runtime_id="r-mia", user_id="u-mia", address=MIA)
    permits = Permits(on_learned=lambda *place: learned.append(place))
    permits.set_rules(EVERYBODY, [])
    internet, asking, receipts, host = Internet(), Asking(), Receipts(), Host()
    proxy = EgressProxy(
        directory,
        permits,
        asking,
        receipts,
        pool=POOL,
        outside=outside or internet,
        but=networks(but),
        most=most,
        spot=spot,
    )
    standing = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    internet.host_port = standing.sockets[0].getsockname()[1]
    port = await proxy.listen("127.0.0.1", 0)
    try:
        yield WayOut(port, directory, permits, asking, receipts, internet, host, learned, proxy)
    finally:
        await proxy.close(within_s=2)
        standing.close()
        await standing.wait_closed()
