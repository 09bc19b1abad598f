"""One step of a plan, done for real, and the look at Docker that the next plan is made from."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from typing import Protocol

from clawloops.errors import EngineRefused
from clawloops.model.runtime import Runtime
from clawloops.orchestrator.plan import (
    Action,
    Attach,
    ConnectEdge,
    Create,
    Forget,
    Kill,
    MakeNetwork,
    Remove,
    RemoveNetwork,
    Start,
    Stop,
    Unpause,
    World,
    WriteConfig,
)
from clawloops.runtimes import containers, images, names, networks, openclaw, volumes
from clawloops.runtimes.client import Engine, EngineMissing
from clawloops.runtimes.files import Folder, folder
from clawloops.runtimes.seen import YOUNG_MS
from clawloops.runtimes.spec import Install, create_body
from clawloops.store import models as model_rows
from clawloops.store import runtimes as runtime_rows
from clawloops.store.db import Database


class EdgeMissing(EngineRefused):
    """There is no edge container to connect: nothing that this runtime did, and over as soon as there is one."""


class Tokens(Protocol):
    """The part of the gateway's directory that the loop keeps true."""

    def set_runtime(self, token_hash: bytes, *, runtime_id: str, user_id: str, address: str) -> None: ...

    def drop_runtime(self, runtime_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Hands:
    """Everything that a step may need."""

    db: Database
    engine: Engine
    tokens: Tokens
    install: Install

    def folder(self, runtime_id: str) -> Folder:
        return folder(self.install.data, runtime_id)

    def name(self, runtime_id: str) -> str:
        return names.container(self.install.install_id, runtime_id)

    def admit(self, runtime: Runtime) -> None:
        """Let the runtime's current token in, from its own address only."""
        if runtime.token_hash is not None:
            address = names.addresses(runtime.subnet).runtime
            self.tokens.set_runtime(runtime.token_hash, runtime_id=runtime.id, user_id=runtime.owner, address=address)


async def observe(hands: Hands, desired: Runtime) -> tuple[World, str]:
    """One look, and the configuration text that its file is held against. Raises EngineUnavailable, EngineRefused."""
    install, engine = hands.install, hands.engine
    config = openclaw.text(openclaw.render(desired, install, await model_rows.all(hands.db)))
    files = hands.folder(desired.id)
    seen, network, present, (config_ok, token_ok, exists) = await asyncio.gather(
        containers.seen(engine, install.install_id, desired.id),
        networks.seen(engine, install.install_id, desired.id, subnet=desired.subnet, edge=install.edge),
        images.present(engine, install.image),
        asyncio.to_thread(lambda: (files.config_is(config), files.token_is(desired.token_hash), files.path.exists())),
    )
    world = World(
        containers=seen,
        network=network,
        image_present=present,
        config_ok=config_ok,
        token_ok=token_ok,
        folder=exists,
    )
    return world, config


async def execute(hands: Hands, action: Action, desired: Runtime, config: str) -> None:
    """Do one step. What came of it is seen at the next look. Raises EngineUnavailable, EngineRefused, OSError."""
    engine, install = hands.engine, hands.install
    match action:
        case MakeNetwork():
            await networks.create(engine, install.install_id, desired.id, subnet=desired.subnet)
        case RemoveNetwork(network):
            await networks.remove(engine, network)
        case ConnectEdge(network_id):
            await _connect_edge(hands, network_id, desired)
        case WriteConfig():
            await asyncio.to_thread(hands.folder(desired.id).write_config, config)
        case Create():
            await _create(hands, desired, config)
        case Attach(container, network_id):
            # A stopped container keeps the id of a network that is no more, and cannot start until that is undone.
            await networks.disconnect(engine, names.network(install.install_id, desired.id), container)
            await networks.connect(engine, network_id, container, names.addresses(desired.subnet).runtime)
        case Start(container):
            await containers.start(engine, container)
        case Unpause(container):
            await containers.unpause(engine, container)
        case Stop(container, young):
            if young:
                await asyncio.sleep(YOUNG_MS / 1000)
            await containers.signal(engine, container, "SIGTERM")
        case Kill(container):
            await containers.signal(engine, container, "SIGKILL")
        case Remove(container, force):
            await containers.remove(engine, container, force=force)
        case Forget():
            hands.tokens.drop_runtime(desired.id)
            await asyncio.to_thread(hands.folder(desired.id).remove)


async def _connect_edge(hands: Hands, network_id: str, desired: Runtime) -> None:
    edge = hands.install.edge
    try:
        await networks.connect(hands.engine, network_id, edge, names.addresses(desired.subnet).edge)
    except EngineMissing as error:
        raise EdgeMissing(
            f"the container {edge} is not there, and every workspace is reached through it; "
            "an administrator runs ./install.sh, which makes it again",
            status=404,
        ) from error


async def _create(hands: Hands, desired: Runtime, config: str) -> None:
    engine, install = hands.engine, hands.install
    token = secrets.token_urlsafe(32)
    row = await runtime_rows.new_generation(hands.db, desired.id, hashlib.sha256(token.encode()).digest())
    files = hands.folder(row.id)
    await asyncio.to_thread(files.write_token, token)
    await asyncio.to_thread(files.write_config, config)
    hands.admit(row)
    await volumes.ensure(engine, install.install_id, row.id)
    try:
        await containers.create(engine, hands.name(row.id), create_body(row, install))
    except EngineRefused as error:
        if error.status != 409 or not await _appears(hands, row):
            raise


async def _appears(hands: Hands, row: Runtime) -> bool:
    """Whether the name is taken by a create of ours that was cut off and ends only now: the next look then decides."""
    for _ in range(20):
        if await containers.seen(hands.engine, hands.install.install_id, row.id):
            return True
        await asyncio.sleep(0.25)
    return False
