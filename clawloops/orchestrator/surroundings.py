"""What is around the edge: all that a runtime must not reach, found anew for each self-test."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import socket
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from clawloops.runtimes import names
from clawloops.runtimes.spec import PORT, Install

PARTS = (("LiteLLM", "litellm", 4000), ("Ollama", "ollama", 11434), ("vLLM", "vllm", 8000))
DATABASE = ("PostgreSQL", "postgres", 5432)
"""Parts by their names on the edge's other networks. The guard has no network, and Traefik is on the edge itself."""

HOST_PORTS = (22, 53, 80, 443, 445, 2375, 11434)
METADATA = "169.254.169.254"
PUBLIC = "1.1.1.1"
OUTSIDE_NAME = "example.org"
"""One that every resolver of the world answers, and none that leads nowhere."""

MOST_OTHERS = 48  # other runtimes that one test looks for; the next one takes others
RESOLVE_S = 2.0
_LISTENS = "0A"  # proc(5), /proc/net/tcp: TCP_LISTEN


class Expected(StrEnum):
    """What has to become of an attempt to connect."""

    SILENCE = "silence"  # even a refusal shows that there is a way
    REFUSAL = "refusal"  # the edge itself is there, and may say so
    ANSWER = "answer"  # the control: without it, the rest proves nothing


@dataclass(frozen=True, slots=True)
class Attempt:
    what: str  # in words
    address: str  # IPv4
    port: int
    expected: Expected = Expected.SILENCE

    def __str__(self) -> str:
        return f"{self.what} ({self.address} port {self.port})"


def forwarding(folder: Path = Path("/proc/sys/net/ipv4/conf")) -> list[str]:
    """Interfaces of this network namespace from which packets are passed on (sysctl net.ipv4.conf.*.forwarding)."""
    return sorted(each.parent.name for each in folder.glob("*/forwarding") if each.read_text().strip() != "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Seen from the edge's network namespace, in which the control plane lives."""

    install: Install
    pool: ipaddress.IPv4Network
    hosts: Collection[str] = ()  # addresses of this host that cannot be seen from here
    net: Path = Path("/proc/net")  # of a process in that namespace
    forwarding: Callable[[], list[str]] = forwarding

    @property
    def subnet(self) -> str:
        """The canary's own."""
        return names.canary_subnet(self.pool)

    async def attempts(self, members: Collection[str]) -> list[Attempt]:
        """What the canary tries. `members`: subnets of all runtimes. Raises OSError, ValueError."""
        own = names.addresses(self.subnet)
        found = [Attempt("the model gateway", own.edge, self.install.gateway_port, Expected.ANSWER)]
        for part, address, port in await self._resolved([*PARTS, DATABASE]):
            found.append(Attempt(part, address, port))
        hosts = {own.gateway, *self.hosts, *await asyncio.to_thread(self._bridges)}
        hosts |= {address for _, address, _ in await self._resolved([("", each, 0) for each in self._host_names()])}
        ports = {*HOST_PORTS, self.install.port}
        found += [Attempt("this host", host, port) for host in sorted(hosts) for port in sorted(ports)]
        found += [Attempt("the metadata service of a cloud", METADATA, port) for port in (80, 443)]
        found += [Attempt("the internet", PUBLIC, port) for port in (53, 443)]
        for subnet in random.sample(list(members), min(len(members), MOST_OTHERS)):
            other = names.addresses(subnet)
            found.append(Attempt("another workspace", other.runtime, PORT))
            found.append(Attempt("the edge on another workspace's network", other.edge, self.install.gateway_port))
        for port in await asyncio.to_thread(lambda: sorted(self._listeners() - self.install.doors)):
            found.append(Attempt("a port of the edge that is no door for workspaces", own.edge, port, Expected.REFUSAL))
        return [each for each in found if self._worth_trying(each)]

    def _worth_trying(self, attempt: Attempt) -> bool:
        """Its own loopback and its own address would answer whatever the walls are."""
        address = ipaddress.IPv4Address(attempt.address)
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            return False
        own = names.addresses(self.subnet)
        return address not in ipaddress.IPv4Network(self.subnet) or attempt.address in (own.edge, own.gateway)

    def _host_names(self) -> list[str]:
        base = self.install.base
        return ["host.docker.internal", *([] if base.endswith("localhost") else [base])]

    def _bridges(self) -> set[str]:
        """This host's addresses on the edge's networks: its gateways, and the first one of each that is no member's.

        Format: proc(5), /proc/net/route; addresses in hexadecimal, in the byte order of the host.
        """
        found: set[str] = set()
        for line in (self.net / "route").read_text().splitlines()[1:]:
            _, target, gateway, _, _, _, _, mask, *_ = line.split()
            if int(gateway, 16):
                found.add(str(_address(gateway)))
            elif int(target, 16):
                network = ipaddress.IPv4Network(f"{_address(target)}/{_address(mask)}")
                if not network.overlaps(self.pool):
                    found.add(str(network.network_address + 1))
        return found

    def _listeners(self) -> set[int]:
        """Ports on which somebody in the namespace listens, whatever the address (proc(5), /proc/net/tcp)."""
        found: set[int] = set()
        for name in ("tcp", "tcp6"):
            with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                for line in (self.net / name).read_text().splitlines()[1:]:
                    words = line.split()
                    if words[3] == _LISTENS:
                        found.add(int(words[1].rpartition(":")[2], 16))
        return found

    async def _resolved(self, wanted: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
        """Those (words, name, port) that have an address now, with it in the name's place."""

        async def resolve(words: str, name: str, port: int) -> list[tuple[str, str, int]]:
            try:
                async with asyncio.timeout(RESOLVE_S):
                    loop = asyncio.get_running_loop()
                    rows = await loop.getaddrinfo(name, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
            except (OSError, TimeoutError):  # a part that this install does not have
                return []
            return [(words, address, port) for address in sorted({str(row[4][0]) for row in rows})]

        return [each for rows in await asyncio.gather(*(resolve(*each) for each in wanted)) for each in rows]


def _address(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(struct.pack("=I", int(text, 16)))
