"""Names, labels and addresses of all that we make in Docker, as pure functions of install id and runtime id."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

MANAGED = "clawloops.managed"
INSTALL = "clawloops.install"
RUNTIME = "clawloops.runtime"
OWNER = "clawloops.owner"
SPEC = "clawloops.spec"
GENERATION = "clawloops.generation"
VOLUME = "clawloops.volume"  # on a volume: its number
CARRIER = "clawloops.carrier"  # on a container that is never started, only copied through

CANARY = "canary"
"""In a runtime id's place, in names and labels of the standing canary. No runtime has it: theirs begin with "r"."""


def container(install_id: str, runtime_id: str) -> str:
    """A member's one container. Docker refuses a second of the same name, whoever asks for it."""
    return f"clawloops-{install_id}-u-{runtime_id}"


def network(install_id: str, runtime_id: str) -> str:
    return f"clawloops-{install_id}-u-{runtime_id}"


def volume(install_id: str, runtime_id: str, number: int = 0) -> str:
    """One of a member's workspace volumes; the first has no number in its name."""
    return f"clawloops-{install_id}-ws-{runtime_id}" + (f"-{number}" if number else "")


def volume_of(name: str, install_id: str) -> tuple[str, int] | None:
    """The runtime id and number in a volume's name of this install; None for any other name."""
    start = volume(install_id, "")
    runtime_id, _, number = name.removeprefix(start).partition("-")
    if not name.startswith(start) or not (number.isdigit() or not number):
        return None
    return runtime_id, int(number or 0)


def carrier(install_id: str, runtime_id: str, number: int, tail: str) -> str:
    """A container that only carries a volume for a copy. `tail` tells it from another copy of the same volume."""
    return f"clawloops-{install_id}-c-{runtime_id}-{number}-{tail}"


def runtime_of(name: str, install_id: str) -> str | None:
    """The runtime id in a container or network name of this install; None for any other name."""
    start = container(install_id, "")
    return name[len(start) :] if name.startswith(start) and len(name) > len(start) else None


def labels(install_id: str, runtime_id: str) -> dict[str, str]:
    """The labels that make a container, network or volume ours; only what carries all three is ever touched."""
    return {MANAGED: "true", INSTALL: install_id, RUNTIME: runtime_id}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Who has which IPv4 address on a member's network."""

    gateway: str  # named in IPAM, but no interface ever has it (inhibit_ipv4)
    edge: str
    runtime: str


def addresses(subnet: str) -> Addresses:
    """The three addresses of a member's /29, given in CIDR notation. ValueError when it is no IPv4 network."""
    first = ipaddress.IPv4Network(subnet).network_address
    return Addresses(gateway=str(first + 1), edge=str(first + 2), runtime=str(first + 3))


def canary_subnet(pool: ipaddress.IPv4Network) -> str:
    """The canary's /29, in CIDR notation: the last one of the pool of member networks."""
    return str(ipaddress.IPv4Network((int(pool.broadcast_address) - 7, 29)))
