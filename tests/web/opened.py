"""Opens a box: every service of the control plane on SQLite files, behind its real listeners."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding

from clawloops.bench.peers import free_port
from clawloops.certificates.authority import new_authority
from clawloops.control.accounts import Accounts
from clawloops.control.arrivals import Arrivals
from clawloops.control.audit import Audit
from clawloops.control.backends import Backends
from clawloops.control.backups import Backups
from clawloops.control.budgets import Budgets
from clawloops.control.burn import BurnGuard
from clawloops.control.connecting import BundledParts
from clawloops.control.connections import Connections
from clawloops.control.decoys import Decoys
from clawloops.control.egress import Egress
from clawloops.control.factors import Factors
from clawloops.control.groups import Groups
from clawloops.control.handover import Handover
from clawloops.control.hooks import Hooks
from clawloops.control.inspections import Inspections
from clawloops.control.invitations import Invitations
from clawloops.control.issuer import Issuers
from clawloops.control.keys import Keys
from clawloops.control.ledger import Ledger
from clawloops.control.library import Library
from clawloops.control.logs import Logs
from clawloops.control.mailing import Mailing
from clawloops.control.models import Models
from clawloops.control.passkeys import Party, Passkeys
from clawloops.control.prices import Prices
from clawloops.control.reports import Reports
from clawloops.control.resets import Resets
from clawloops.control.rollouts import Rollouts
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.control.smtp import Post
from clawloops.control.tokens import Tokens
from clawloops.control.workspaces import Workspaces
from clawloops.gateway.health import Health
from clawloops.gateway.journal import Journal
from clawloops.gateway.queue import Queue
from clawloops.gateway.route import Directory
from clawloops.model.decoy import DecoyKeys
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.walls import Walls
from clawloops.runtimes.client import Engine
from clawloops.runtimes.spec import Install
from clawloops.store.db import open_database
from clawloops.store.migrate import migrate
from clawloops.store.own_keys import audit_key, decoy_key, link_key
from clawloops.store.seal import Sealer
from clawloops.web.apps import auth_door
from clawloops.web.context import Site
from clawloops.web.languages import language
from tests.web.box import BASE, IMAGE, Box
from tests.web.printed import Printed
from tests.web.upkept import Kept


@asynccontextmanager
async def opened_box(folder: Path) -> AsyncIterator[Box]:
    async with AsyncExitStack() as stack:
        db = await open_database(f"sqlite:///{folder}/clawloops.db")
        stack.push_async_callback(db.close)
        await migrate(db, backup_dir=folder / "backups")
        port, auth_port, runtime_port = free_port(), free_port(), free_port()
        ca_file = folder / "ca.crt"
        authority = new_authority(BASE, now=datetime.now(UTC))
        ca_file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        site = Site(
            origin=f"http://{BASE}:{port}", base=BASE, scheme="http", port=port, secure=False,
            ca_file=ca_file, has_ollama=True, has_litellm=True, memory_mb=2048, cpus=2.0,
        )  # fmt: skip
        http = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True)
        )
        master = secrets.token_bytes(32)
        sealer = Sealer(master, install_id="0" * 8)
        audit, sessions, board, directory = Audit(db, await audit_key(db, sealer)), Sessions(db), Board(), Directory()
        accounts = Accounts(db, sessions, audit)
        woken: list[str] = []
        runtimes = Runtimes(db, audit, pool=IPv4Network("10.201.0.0/24"), wake=woken.append)
        bundled = BundledParts(ollama_url="", litellm_url="", litellm_key="")
        keeping: set[asyncio.Task[Any]] = set()
        walls, decoy_keys, kept = Walls(), DecoyKeys(await decoy_key(db, sealer)), Kept()

        def keep(work: Coroutine[Any, Any, None]) -> None:
            keeping.add(asyncio.create_task(work))

        prices = Prices(db, audit, http, bundled)
        models = Models(db, sealer, directory, audit, prices=prices, wake_all=lambda: None)
        health, queue = Health(), Queue(weight_of=directory.weight_of)
        backends = Backends(db, sealer, http, models, health=health, queue=queue, audit=audit, bundled=bundled)
        library = Library(db, http, backends, models, audit, bundled=bundled, data=folder / "imports", keep=keep)
        journal = Journal(folder / "usage.log")
        ledger = Ledger(db, journal)
        stack.callback(journal.close)
        keys = Keys(db, audit, directory)
        tokens = Tokens(db, audit, keys)

        async def shut_out(user_id: str) -> None:
            keys.shut_out(user_id)
            await tokens.end_all_of(user_id)
            await runtimes.stop_for(user_id)

        accounts.on_disabled, accounts.on_enabled = shut_out, keys.let_in
        install = Install(install_id="0" * 8, data=str(folder), edge="", image=IMAGE)
        factors = Factors(db, sealer, sessions, audit, host=BASE)
        inspections = Inspections(db, accounts, sessions, audit)
        printed, connections = Printed(), Connections(db, sealer, audit, wake=woken.append)
        invitations = Invitations(db, accounts, audit, origin=site.origin, key=await link_key(db, sealer))
        invitations.on_grouped = models.changed
        groups = Groups(db, audit, changed=models.changed)
        issuers = Issuers(db, sealer, audit, http, origin=site.origin)
        post = Post(name=BASE, may_reach=lambda _: True)
        box = Box(
            printed=printed, logs=Logs(inspections, printed.read, data=str(folder), secrets_of=connections.values_of),
            site=site, accounts=accounts, sessions=sessions, factors=factors,
            passkeys=Passkeys(db, factors, audit, party=Party(BASE, site.origin)),
            runtimes=runtimes, board=board, db=db, sealer=sealer, master=master,
            hooks=Hooks(db, audit, wake=woken.append),
            connections=connections,
            rollouts=Rollouts(db, audit, install=install, look=lambda: woken.append("")),
            workspaces=Workspaces(
                db, audit, runtimes, Engine(), install_id="0" * 8, data=str(folder), wake=woken.append
            ),
            invitations=invitations, issuers=issuers,
            arrivals=Arrivals(
                db, issuers, accounts=accounts, sessions=sessions, invitations=invitations, groups=groups, audit=audit
            ),
            resets=Resets(db, accounts, factors, sessions, audit, origin=site.origin),
            mailing=Mailing(db, sealer, invitations, audit, post=post, base=BASE, tongue=language),
            handover=Handover(sessions, inspections), inspections=inspections,
            models=models, backends=backends, health=health, queue=queue,
            groups=groups,
            ledger=ledger, reports=Reports(db, ledger, prices),
            budgets=Budgets(db, audit, ledger, keep=keep), burn=BurnGuard(db, audit, keep=keep),
            walls=walls, decoy_keys=decoy_keys,
            decoys=Decoys(
                db, audit, decoy_keys, keep=keep, hold=walls.hold, let_go=walls.let_go, wake=woken.append
            ),
            egress=Egress(db, audit, keep=keep),
            library=library,
            keys=keys, tokens=tokens, kept=kept, gauges=kept.gauges(folder),
            upkeep=kept.upkeep(folder, audit, keep), backups=Backups(db, audit, folder / "backups"), audit=audit,
            journal=journal, directory=directory, http=http,
            auth_port=auth_port, runtime_port=runtime_port, woken=woken, keeping=keeping,
        )  # fmt: skip
        auth = auth_door(box.doorkeeper)
        stack.push_async_callback(auth.close, within_s=2.0)
        await auth.listen("127.0.0.1", auth_port)
        stack.push_async_callback(box.close_dashboard)
        await box.open_dashboard()
        await box.egress.load()
        yield box
