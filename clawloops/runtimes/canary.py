"""Keeps the standing canary: one container of ours on a network that is made by the code that makes members'."""

from __future__ import annotations

from typing import Any

from clawloops.errors import EngineRefused, Unavailable
from clawloops.runtimes import bodies, containers, names, networks, sandboxes
from clawloops.runtimes.client import Engine
from clawloops.runtimes.images import Images
from clawloops.runtimes.seen import Container, Network, State
from clawloops.runtimes.spec import Install, spec_hash


async def keep(engine: Engine, images: Images, install: Install, subnet: str, *, anew: bool) -> None:
    """See that it runs exactly as `bodies.canary` has it. What is otherwise is made anew: there is nothing to lose.

    `anew`: also one that looks well, because it did not do its work. Raises Unavailable, EngineRefused.
    """
    image = await images.look(install.image)
    if image is None or image.foreign_labels:
        raise Unavailable(f"the image {install.image} is not on this host as we make it; run ./install.sh")
    if not await sandboxes.present(engine, install.sandbox):
        raise Unavailable(sandboxes.MISSING)
    network = await _network(engine, install, subnet)
    body = bodies.canary(install, subnet)
    seen = await containers.seen(engine, install.install_id, names.CANARY, body=body, image=image)
    if len(seen) == 1 and not anew and _is_as_wanted(seen[0], body, network):
        return
    for each in seen:
        await containers.remove(engine, each.id, force=True)
    made = await containers.create(engine, names.container(install.install_id, names.CANARY), body)
    await containers.start(engine, made)


def _is_as_wanted(seen: Container, body: dict[str, Any], network: Network) -> bool:
    promised = seen.spec == spec_hash(body) and not seen.edited and not seen.elsewhere
    return promised and seen.state is State.RUNNING and seen.network_id == network.id


async def _network(engine: Engine, install: Install, subnet: str) -> Network:
    async def look() -> Network | None:
        return await networks.seen(engine, install.install_id, names.CANARY, subnet=subnet, edge=install.edge)

    name = names.network(install.install_id, names.CANARY)
    network = await look()
    if network is not None and not network.ours:
        raise EngineRefused(f"a Docker network that is not ours is called {name}; remove or rename it", status=409)
    if network is not None and not network.exact:
        await networks.remove(engine, network)
        network = None
    if network is None:
        await networks.create(engine, install.install_id, names.CANARY, subnet=subnet)
        network = await look()
    if network is None:
        raise Unavailable(f"the Docker network {name} went away while it was looked at")
    if not network.edge:
        await networks.connect(engine, network.id, install.edge, names.addresses(subnet).edge)
    return network
