"""One step of a plan, done for real, and the look at Docker that the next plan is made from."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import Protocol

from clawloops.clock import now_ms
from clawloops.errors import EngineRefused
from clawloops.model.decoy import DecoyKeys
from clawloops.model.runtime import Runtime
from clawloops.orchestrator.actions import (
    Action,
    Attach,
    ConnectEdge,
    Create,
    Forget,
    Kill,
    Limit,
    MakeNetwork,
    Pause,
    Remove,
    RemoveNetwork,
    Start,
    Stop,
    Unpause,
    WriteConfig,
)
from clawloops.orchestrator.plan import World
from clawloops.runtimes import containers, decoy, names, networks, openclaw, volumes
from clawloops.runtimes.client import Engine, EngineFailed, EngineFull, EngineMissing
from clawloops.runtimes.files import Folder, folder
from clawloops.runtimes.images import Images
from clawloops.runtimes.sandboxes import Sandboxes
from clawloops.runtimes.seen import YOUNG_MS
from clawloops.runtimes.spec import Install, create_body, spec_hash
from clawloops.store import connections as connection_rows
from clawloops.store import models as model_rows
from clawloops.store import runtimes as runtime_rows
from clawloops.store import users as user_rows
from clawloops.store import volumes as volume_rows
from clawloops.store.db import Database
from clawloops.store.seal import Sealer


class Outside(EngineRefused):
    """Nothing that this runtime did, and over as soon as what is named was put right: it counts as no failure."""


class NoRoom(EngineRefused):
    """Swap is too small for what a paused runtime keeps in memory: it then stays where it is."""


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
    images: Images
    decoys: DecoyKeys
    sandboxes: Sandboxes
    sealer: Sealer

    def folder(self, runtime_id: str) -> Folder:
        return folder(self.install.data, runtime_id)

    def name(self, runtime_id: str) -> str:
        return names.container(self.install.install_id, runtime_id)

    def write(self, runtime: Runtime, config: str) -> None:
        """The files that may be replaced while it runs. Blocks for a moment on the disk. Raises OSError."""
        files = self.folder(runtime.id)
        files.write_decoy(self.decoy_of(runtime))
        files.write_config(config)

    def decoy_of(self, runtime: Runtime) -> str:
        return decoy.text(runtime, self.install, self.decoys)

    def admit(self, runtime: Runtime) -> None:
        """Let the runtime's current token in, from its own address only."""
        if runtime.token_hash is not None:
            address = names.addresses(runtime.subnet).runtime
            self.tokens.set_runtime(runtime.token_hash, runtime_id=runtime.id, user_id=runtime.owner, address=address)


@dataclass(frozen=True, slots=True)
class Look:
    """One look, and what it is held against."""

    world: World
    config: str  # the text that the configuration file must have
    spec: str
    image: str
    image_refused: tuple[str, ...]  # labels of the image for which it must not be used


async def observe(hands: Hands, desired: Runtime) -> Look:
    """Look at everything that a runtime consists of. Raises EngineUnavailable, EngineRefused."""
    install, engine = hands.install, hands.engine
    owner = await user_rows.get(hands.db, desired.owner)
    shut_out = owner is None or not owner.may_work
    models = await model_rows.open_to(hands.db, desired.owner)
    connected = await connection_rows.of(hands.db, hands.sealer, desired.owner)
    config = openclaw.text(openclaw.render(desired, install, models, connected, shut_out=shut_out))
    body = create_body(desired, install)
    image = await hands.images.look(install.image_of(desired))
    seen, network, (files_ok, token_ok, exists) = await asyncio.gather(
        containers.seen(engine, install.install_id, desired.id, body=body, image=image),
        networks.seen(engine, install.install_id, desired.id, subnet=desired.subnet, edge=install.edge),
        asyncio.to_thread(_files, hands, desired, config),
    )
    used = any(each.state.up for each in seen)  # then its volume is there: Docker removes none that is in use
    world = World(
        containers=seen,
        network=network,
        image_present=image is not None and not image.foreign_labels,
        config_ok=files_ok,
        token_ok=token_ok,
        folder=exists,
        sandbox=await hands.sandboxes.present(install.sandbox),
        volume=used
        or not desired.volume_at
        or await volumes.exists(engine, install.install_id, desired.id, desired.volume),
    )
    return Look(world, config, spec_hash(body), install.image_of(desired), image.foreign_labels if image else ())


def _files(hands: Hands, desired: Runtime, config: str) -> tuple[bool, bool, bool]:
    """Whether what may be replaced at any time is as it must be, whether the token is, and whether there are any."""
    files = hands.folder(desired.id)
    as_written = files.config_is(config) and files.decoy_is(hands.decoy_of(desired))
    return as_written, files.token_is(desired.token_hash), files.path.exists()


async def execute(hands: Hands, action: Action, desired: Runtime, config: str) -> None:
    """Do one step. What came of it is seen at the next look. Raises EngineUnavailable, EngineRefused, OSError.

    A step that the Engine answers with 5xx counts as refused: it is there, so it would be a lie that it is not.
    """
    try:
        await _do(hands, action, desired, config)
    except EngineFull as error:
        raise Outside(str(error), status=507) from error
    except EngineFailed as error:
        raise EngineRefused(str(error), status=500) from error


async def _do(hands: Hands, action: Action, desired: Runtime, config: str) -> None:
    engine, install = hands.engine, hands.install
    match action:
        case MakeNetwork():
            await networks.create(engine, install.install_id, desired.id, subnet=desired.subnet)
        case RemoveNetwork(network):
            await networks.remove(engine, network)
        case ConnectEdge(network_id):
            await _connect_edge(hands, network_id, desired)
        case WriteConfig():
            await asyncio.to_thread(hands.write, desired, config)
        case Create():
            await _create(hands, desired, config)
        case Attach(container, network_id):
            # A stopped container keeps the id of a network that is no more, and cannot start until that is undone.
            await networks.disconnect(engine, names.network(install.install_id, desired.id), container)
            await networks.connect(engine, network_id, container, names.addresses(desired.subnet).runtime)
        case Start(container):
            await containers.start(engine, container)
        case Pause(container):
            await containers.pause(engine, container)
        case Limit(container, memory):
            promised = install.limits_of(desired).memory_mb
            if not await containers.limit(engine, container, memory_mb=memory // 2**20, promised_mb=promised):
                raise NoRoom(
                    "what a paused workspace keeps in memory does not fit into the swap of this host", status=409
                )
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
        raise Outside(
            f"the container {edge} is not there, and every workspace is reached through it; "
            "an administrator runs ./install.sh, which makes it again",
            status=404,
        ) from error


async def _create(hands: Hands, desired: Runtime, config: str) -> None:
    engine, install = hands.engine, hands.install
    token = secrets.token_urlsafe(32)
    row = await runtime_rows.new_generation(hands.db, desired.id, hashlib.sha256(token.encode()).digest())
    await asyncio.to_thread(hands.folder(row.id).write_token, token)
    await asyncio.to_thread(hands.write, row, config)
    hands.admit(row)
    if not row.volume_at:  # the first time; from then on a missing one is a loss that a person has to know of
        await volumes.ensure(engine, install.install_id, row.id, row.volume)
        row = await volume_rows.used(hands.db, row, image=install.image_of(row), now=now_ms())
    elif not row.image:  # its state was made before images were noted
        row = await runtime_rows.put(hands.db, replace(row, image=install.image_of(row)))
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
