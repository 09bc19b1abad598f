"""A member's own network: internal, an explicit /29, no address on the bridge, and the edge on it at .2."""

from __future__ import annotations

from typing import Any

from clawloops.errors import EngineRefused, EngineUnavailable
from clawloops.runtimes import bodies, names
from clawloops.runtimes.client import Engine, EngineMissing
from clawloops.runtimes.seen import Network


async def seen(engine: Engine, install_id: str, runtime_id: str, *, subnet: str, edge: str) -> Network | None:
    """The network of this runtime as Docker shows it now, or None."""
    name = names.network(install_id, runtime_id)
    try:
        row: dict[str, Any] = await engine.call(lambda api: api.inspect_network(name))
    except EngineMissing:
        return None
    address = names.addresses(subnet)
    pools = (row.get("IPAM") or {}).get("Config") or []
    exact = (
        bool(row["Internal"])
        and not row.get("EnableIPv6")
        and (row.get("Options") or {}).get(bodies.INHIBIT) == "true"
        and [(pool.get("Subnet"), pool.get("Gateway")) for pool in pools] == [(subnet, address.gateway)]
    )
    members = row.get("Containers") or {}
    return Network(
        id=row["Id"],
        ours=names.labels(install_id, runtime_id).items() <= (row.get("Labels") or {}).items(),
        exact=exact,
        edge=any(
            each["Name"] == edge and each["IPv4Address"].split("/")[0] == address.edge for each in members.values()
        ),
        members=tuple(members),
        others=tuple(each for each, endpoint in members.items() if endpoint["Name"] != edge),
    )


async def create(engine: Engine, install_id: str, runtime_id: str, *, subnet: str) -> None:
    """Make it. EngineRefused: the subnet overlaps another network of this host, or the name is taken (409)."""
    body = bodies.network(install_id, runtime_id, subnet)
    await engine.call(
        lambda api: api.create_network(
            body["Name"],
            driver=body["Driver"],
            internal=body["Internal"],
            check_duplicate=body["CheckDuplicate"],
            options=body["Options"],
            ipam=body["IPAM"],
            labels=body["Labels"],
        )
    )


async def connect(engine: Engine, network_id: str, container: str, address: str) -> None:
    """Put a container on it at `address`, in place of any endpoint it has there. EngineMissing: no such container."""
    try:
        await _connect(engine, network_id, container, address)
    except EngineRefused as error:
        if isinstance(error, EngineMissing):
            raise
        # "endpoint … already exists": on it with another address, or left over from an edge that was killed
        await disconnect(engine, network_id, container)
        await _connect(engine, network_id, container, address)


async def _connect(engine: Engine, network_id: str, container: str, address: str) -> None:
    await engine.call(lambda api: api.connect_container_to_network(container, network_id, ipv4_address=address))


async def disconnect(engine: Engine, network: str, container: str) -> None:
    """Take a container off it; one that is not on it is fine."""
    try:
        await engine.call(lambda api: api.disconnect_container_from_network(container, network, force=True))
    except EngineMissing:
        return
    except (EngineRefused, EngineUnavailable) as error:  # Engine 20.10 answers 500 to this one
        if "is not connected to" not in str(error):
            raise


async def remove(engine: Engine, network: Network) -> None:
    """Take everybody off it and remove it. Gone already is fine."""
    for member in network.members:
        await disconnect(engine, network.id, member)
    try:
        await engine.call(lambda api: api.remove_network(network.id))
    except EngineMissing:
        return
