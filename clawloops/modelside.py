"""Builds the model side of the box: from the keys in the store to the two doors that callers knock at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from clawloops.background import Background
from clawloops.clock import now_ms
from clawloops.config import Settings
from clawloops.control.audit import Audit
from clawloops.control.backends import Backends
from clawloops.control.budgets import Budgets
from clawloops.control.burn import BurnGuard
from clawloops.control.connecting import BundledParts
from clawloops.control.egress import Egress
from clawloops.control.groups import Groups
from clawloops.control.keys import Keys
from clawloops.control.ledger import Ledger
from clawloops.control.library import Library
from clawloops.control.models import Models
from clawloops.control.prices import Prices
from clawloops.control.reports import Reports
from clawloops.control.trials import Trials
from clawloops.gateway.books import Books
from clawloops.gateway.destinations import networks
from clawloops.gateway.egress import MOST_IN_ALL, EgressProxy
from clawloops.gateway.health import Health
from clawloops.gateway.ingress import InUse, Room, gateway, members_door
from clawloops.gateway.journal import Journal
from clawloops.gateway.outside import Outside
from clawloops.gateway.proxy import Proxy
from clawloops.gateway.queue import Queue
from clawloops.gateway.reach import Reach
from clawloops.gateway.resolve import VettedResolver, upstream_session
from clawloops.gateway.route import Directory
from clawloops.gateway.upstreams import LiteLLM
from clawloops.listening import open_door, open_files
from clawloops.model.decoy import Spot
from clawloops.model.usage import Call
from clawloops.store.db import Database
from clawloops.store.seal import Sealer
from clawloops.wire.client import Client


@dataclass(frozen=True, slots=True)
class ModelSide:
    """Its services for the dashboard, and what its doors need."""

    directory: Directory
    models: Models
    backends: Backends
    groups: Groups
    keys: Keys
    ledger: Ledger
    budgets: Budgets
    prices: Prices
    reports: Reports
    burn: BurnGuard
    library: Library
    trials: Trials
    egress: Egress
    reach: Reach
    journal: Journal

    async def load(self) -> None:
        """Read from the store what calls are answered from. Raises SealBroken."""
        await self.prices.load()
        await self.models.load()
        await self.keys.load()
        await self.burn.load()
        await self.ledger.settle_lost()
        await self.budgets.load()
        await self.library.resume()
        await self.egress.load()

    async def open_doors(
        self,
        stack: AsyncExitStack,
        settings: Settings,
        background: Background,
        *,
        settled: Callable[[Call], None],
        refused: Callable[[str], None],
        in_use: InUse,
        is_attended: Callable[[str], bool],
        spot: Spot,
    ) -> None:
        """Let members' own tools in, and runtimes, to the models and out to the internet. For the rest see `Books`.

        Raises SetupError where a port is taken.
        """
        books = Books(
            self.journal.append,
            self.budgets.gateway,
            self.burn.circles,
            is_attended=is_attended,
            settled=settled,
            refused=refused,
            now_ms=now_ms,
        )
        background.keep(books.run())
        proxy, room = Proxy(self.reach, books), Room(settings.models_body_mb * 1024**2)
        way_out = EgressProxy(
            self.directory,
            self.egress.permits,
            self.egress.asking,
            self.egress.receipts,
            pool=settings.runtime_pool,
            outside=Outside(),
            but=networks(settings.host_addresses),
            most=min(MOST_IN_ALL, open_files() // 8),  # each has two sockets: the rest is for everybody else
            spot=spot,
        )
        for_runtimes = gateway(self.directory, proxy, pool=settings.runtime_pool, in_use=in_use, room=room, spot=spot)
        await open_door(stack, members_door(self.directory, proxy, room=room, spot=spot), settings.models_listen)
        await open_door(stack, for_runtimes, f"0.0.0.0:{settings.gateway_port}")
        await open_door(stack, way_out, f"0.0.0.0:{settings.egress_port}")

    def keep_up(self, background: Background) -> None:
        """Begin what goes on beside the calls."""
        background.keep(self.ledger.run())
        background.keep(self.backends.run())
        background.keep(self.models.follow_prices())
        background.keep(self.egress.run())


@dataclass(frozen=True, slots=True)
class Services:
    """What names, backends and prices need; enough of the model side for the command line."""

    directory: Directory
    health: Health
    queue: Queue
    prices: Prices
    models: Models
    backends: Backends


def services(
    db: Database,
    sealer: Sealer,
    session: aiohttp.ClientSession,
    *,
    audit: Audit,
    bundled: BundledParts,
    wake_all: Callable[[], None] = lambda: None,
    on_refused: Callable[[str, str], None] = lambda runtime_id, peer: None,
) -> Services:
    """`wake_all`: look at every runtime, for its list of models has changed. `on_refused`: see `Directory`."""
    directory, health = Directory(on_refused=on_refused), Health()
    queue = Queue(weight_of=directory.weight_of)
    prices = Prices(db, audit, session, bundled)
    models = Models(db, sealer, directory, audit, prices=prices, wake_all=wake_all)
    backends = Backends(db, sealer, session, models, health=health, queue=queue, audit=audit, bundled=bundled)
    return Services(directory, health, queue, prices, models, backends)


async def model_side(
    settings: Settings,
    stack: AsyncExitStack,
    db: Database,
    sealer: Sealer,
    *,
    audit: Audit,
    bundled: BundledParts,
    wake_all: Callable[[], None],
    on_refused: Callable[[str, str], None],
    background: Background,
) -> ModelSide:
    """`wake_all` and `on_refused`: see `services`."""
    journal = await asyncio.to_thread(Journal, settings.data / "journal" / "usage.log")
    stack.callback(journal.close)
    session = await stack.enter_async_context(upstream_session())
    client = await stack.enter_async_context(Client(VettedResolver()))
    made = services(db, sealer, session, audit=audit, bundled=bundled, wake_all=wake_all, on_refused=on_refused)
    directory, models, backends = made.directory, made.models, made.backends
    ledger = Ledger(db, journal)
    budgets = Budgets(db, audit, ledger, keep=background.keep)

    async def regrouped() -> None:
        await models.changed()
        await budgets.load()

    library = Library(
        db, session, backends, models, audit, bundled=bundled, data=settings.data / "imports", keep=background.keep
    )
    return ModelSide(
        directory=directory,
        models=models,
        backends=backends,
        library=library,
        trials=Trials(models, directory, audit, session, door=settings.models_listen),
        egress=Egress(db, audit, keep=background.keep),
        groups=Groups(db, audit, changed=regrouped),
        keys=Keys(db, audit, directory),
        ledger=ledger,
        budgets=budgets,
        prices=made.prices,
        reports=Reports(db, ledger, made.prices),
        burn=BurnGuard(db, audit, keep=background.keep),
        reach=Reach(client, LiteLLM(bundled.litellm_url, bundled.litellm_key), made.health, made.queue),
        journal=journal,
    )
