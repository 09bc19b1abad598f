"""Whatever has our label or a name of our scheme and belongs to nobody is told; what is ours is not."""

from __future__ import annotations

import asyncio
from typing import Any

import docker
import pytest

from clawloops.runtimes import bodies, containers, names, networks, strangers, volumes
from clawloops.runtimes.files import folder
from clawloops.runtimes.spec import create_body
from clawloops.runtimes.strangers import Kind, Known, Listing, judge
from tests.standin.place import Place

US = "0a0b0c0d"
KNOWN = Known(runtimes=frozenset({"r1"}), volumes=frozenset({("r1", 0), ("r1", 2)}))
OURS = {names.MANAGED: "true", names.INSTALL: US}
MEMBER = names.labels(US, "r1")
COMPOSE = {**OURS, strangers.COMPOSE: "clawloops-0a0b0c0d"}
CARRIER = {**OURS, names.CARRIER: "true"}

Case = tuple[str, dict[str, str]]


def _listing(kind: Kind, name: str, labels: dict[str, str]) -> Listing:
    row: dict[str, Any] = {"Id": "1" * 64, "Name": name, "Labels": labels or None}
    return Listing(
        containers=[{**row, "Names": ["/other/" + name, "/" + name]}] if kind is Kind.CONTAINER else [],
        networks=[row] if kind is Kind.NETWORK else [],
        volumes=[row] if kind is Kind.VOLUME else [],
    )


@pytest.mark.parametrize(
    ("kind", "name", "labels"),
    [
        (Kind.CONTAINER, "clawloops-0a0b0c0d-u-r1", MEMBER),
        (Kind.CONTAINER, "clawloops-0a0b0c0d-u-canary", names.labels(US, "canary")),
        (Kind.CONTAINER, "clawloops-0a0b0c0d-edge", OURS),
        (Kind.CONTAINER, "ab12_clawloops-0a0b0c0d-traefik", COMPOSE),  # as Compose v1 names it for a moment
        (Kind.CONTAINER, "clawloops-0a0b0c0d-c-r1-2-abcdef", CARRIER),
        (Kind.CONTAINER, "clawloops-ffffffff-u-r1", names.labels("ffffffff", "r1")),
        (Kind.CONTAINER, "postgres", {}),
        (Kind.NETWORK, "clawloops-0a0b0c0d-u-r1", MEMBER),
        (Kind.NETWORK, "clawloops-0a0b0c0d-u-canary", names.labels(US, "canary")),
        (Kind.NETWORK, "project_front", COMPOSE),
        (Kind.NETWORK, "clawloops-0a0b0c0d-front", OURS),
        (Kind.NETWORK, "bridge", {}),
        (Kind.VOLUME, "clawloops-0a0b0c0d-ws-r1", MEMBER),
        (Kind.VOLUME, "clawloops-0a0b0c0d-ws-r1-2", {**MEMBER, names.VOLUME: "2"}),
        (Kind.VOLUME, "1" * 64, {}),
    ],
)
def test_what_belongs_to_us_or_to_others_is_no_stranger(kind: Kind, name: str, labels: dict[str, str]) -> None:
    assert judge(_listing(kind, name, labels), US, KNOWN) == []


@pytest.mark.parametrize(
    ("kind", "name", "labels", "why"),
    [
        (Kind.CONTAINER, "clawloops-0a0b0c0d-u-r9", names.labels(US, "r9"), "r9, which is not in the database"),
        (Kind.CONTAINER, "clawloops-0a0b0c0d-u-r1", {}, "but not its labels"),
        (Kind.CONTAINER, "clawloops-0a0b0c0d-u-r1", names.labels("ffffffff", "r1"), "but not its labels"),
        (Kind.CONTAINER, "copy-of-r1", MEMBER, "a second container of workspace r1"),
        (Kind.CONTAINER, "mine", OURS, "neither a part of the appliance"),
        (Kind.CONTAINER, "clawloops-0a0b0c0d-edge", {}, "does not carry its label"),
        (Kind.CONTAINER, "clawloops-0a0b0c0d-c-r9-2-abcdef", CARRIER, "of no workspace in the database"),
        (Kind.CONTAINER, "some-carrier", CARRIER, "of no workspace in the database"),
        (Kind.NETWORK, "clawloops-0a0b0c0d-u-r9", names.labels(US, "r9"), "r9, which is not in the database"),
        (Kind.NETWORK, "clawloops-0a0b0c0d-u-r1", {}, "but not its labels"),
        (Kind.NETWORK, "mine", OURS, "neither a part of the appliance"),
        (Kind.VOLUME, "clawloops-0a0b0c0d-ws-r1-1", MEMBER, "knows of none with that number"),
        (Kind.VOLUME, "clawloops-0a0b0c0d-ws-r9", names.labels(US, "r9"), "of workspace r9"),
        (Kind.VOLUME, "clawloops-0a0b0c0d-ws-r1", {}, "but not its labels"),
        (Kind.VOLUME, "notes", MEMBER, "no workspace has a volume of that name"),
    ],
)
def test_a_stranger_is_told_with_the_reason(kind: Kind, name: str, labels: dict[str, str], why: str) -> None:
    (told,) = judge(_listing(kind, name, labels), US, KNOWN)
    assert (told.kind, told.name) == (kind, name)
    assert why in told.why


@pytest.mark.docker
async def test_on_a_real_engine_only_strangers_are_told_and_nothing_is_touched(place: Place) -> None:
    engine, install, row = place.engine, place.install_id, await place.member()
    await networks.create(engine, install, row.id, subnet=row.subnet)
    await volumes.ensure(engine, install, row.id)
    files = folder(place.install.data, row.id)
    files.write_config("{}")
    files.write_token("token")
    await containers.create(engine, place.name(row), create_body(row, place.install))
    body = bodies.carrier(install, place.image, names.volume(install, row.id), writes=False)
    await containers.create(engine, names.carrier(install, row.id, 0, "abcdef"), body)

    async def found(*runtimes: str) -> set[tuple[str, str]]:
        async def known() -> Known:
            return Known(frozenset(runtimes), frozenset((each, 0) for each in runtimes))

        return {(each.kind.value, each.name) for each in await strangers.find(engine, install, known)}

    assert await found(row.id) == set()
    second = body | {"Labels": names.labels(install, row.id)}
    await containers.create(engine, f"again-{install}", second)
    label = {names.MANAGED: "true", names.INSTALL: install}
    pool = docker.types.IPAMPool(subnet=str(place.subnets.pop(0)))
    ipam = docker.types.IPAMConfig(pool_configs=[pool])
    await asyncio.to_thread(place.docker.networks.create, f"mine-{install}", ipam=ipam, labels=label)
    await asyncio.to_thread(place.docker.volumes.create, f"notes-{install}", labels=label)
    added = {("container", f"again-{install}"), ("network", f"mine-{install}"), ("volume", f"notes-{install}")}
    assert await found(row.id) == added
    everything = {
        ("container", place.name(row)),
        ("container", names.carrier(install, row.id, 0, "abcdef")),
        ("network", names.network(install, row.id)),
        ("volume", names.volume(install, row.id)),
    }
    assert await found() == added | everything
    assert await found(row.id) == added
