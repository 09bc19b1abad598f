"""A box without Docker: the real services on SQLite, a real Board with views put into it, both real listeners."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from clawloops.bench.peers import free_port
from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.arrivals import Arrivals
from clawloops.control.audit import Audit
from clawloops.control.backends import Backends
from clawloops.control.backups import Backups
from clawloops.control.budgets import Budgets
from clawloops.control.burn import BurnGuard
from clawloops.control.certificates import Certificates
from clawloops.control.connections import Connections
from clawloops.control.decoys import Decoys
from clawloops.control.egress import Egress
from clawloops.control.factors import Factors
from clawloops.control.first_run import FirstRun
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
from clawloops.control.passkeys import Passkeys
from clawloops.control.reports import Reports
from clawloops.control.resets import Resets
from clawloops.control.rollouts import Rollouts
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.control.tokens import Tokens
from clawloops.control.trials import Trials
from clawloops.control.upkeep import Upkeep
from clawloops.control.workspaces import Workspaces
from clawloops.gateway.health import Health
from clawloops.gateway.journal import Journal
from clawloops.gateway.queue import Queue
from clawloops.gateway.route import Directory
from clawloops.listening import MOST_FIELD
from clawloops.model.account import Role, Session, SessionKind, User
from clawloops.model.certificate import Tls
from clawloops.model.decoy import DecoyKeys
from clawloops.model.runtime import Phase, Runtime, View
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.admission import Box as Room
from clawloops.orchestrator.admission import Gate
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.gauges import Gauges
from clawloops.orchestrator.walls import Walls
from clawloops.store import users
from clawloops.store.db import Database
from clawloops.store.seal import Sealer
from clawloops.web import cookies
from clawloops.web.apps import dashboard_app
from clawloops.web.context import Site, Stranger
from clawloops.web.visit import Doorkeeper
from tests.web.printed import Printed
from tests.web.upkept import Kept

BASE = "clawloops.localhost"
IMAGE = "clawloops/openclaw:2"
NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


@dataclass
class Box:
    """`http` keeps no cookies and follows no redirects: every test says itself what the browser sends."""

    site: Site
    db: Database
    sealer: Sealer
    accounts: Accounts
    invitations: Invitations
    sessions: Sessions
    factors: Factors
    passkeys: Passkeys
    resets: Resets
    mailing: Mailing
    issuers: Issuers
    arrivals: Arrivals
    handover: Handover
    inspections: Inspections
    runtimes: Runtimes
    hooks: Hooks
    connections: Connections
    workspaces: Workspaces
    logs: Logs
    printed: Printed
    rollouts: Rollouts
    models: Models
    backends: Backends
    health: Health
    queue: Queue
    groups: Groups
    ledger: Ledger
    reports: Reports
    budgets: Budgets
    burn: BurnGuard
    decoys: Decoys
    walls: Walls
    decoy_keys: DecoyKeys
    egress: Egress
    library: Library
    keys: Keys
    tokens: Tokens
    audit: Audit
    board: Board
    journal: Journal
    directory: Directory
    gauges: Gauges
    upkeep: Upkeep
    backups: Backups
    kept: Kept
    http: aiohttp.ClientSession
    auth_port: int
    runtime_port: int
    tools_port: int = field(default_factory=free_port)  # of the gateway for members' own tools, where a test opens it
    woken: list[str] = field(default_factory=list)
    roused: list[tuple[str, str]] = field(default_factory=list)
    master: bytes = b""
    activity: Activity = field(default_factory=Activity)
    gate: Gate = field(default_factory=lambda: Gate(lambda: Room(memory_mb=9000, disk_mb=80_000, swap_mb=0), slots=1))
    strangers: Sequence[Stranger] = ()
    certificates: Certificates = field(
        default_factory=lambda: Certificates(Tls.NONE, BASE, address="", problem=Path("/nowhere"))
    )
    dashboard: web.AppRunner | None = None
    keeping: set[asyncio.Task[Any]] = field(default_factory=set)  # what goes on beside requests

    async def settled(self, *, but: Collection[asyncio.Task[Any]] = ()) -> None:
        """Once what goes on beside requests has ended; `but` for what may go on."""
        await asyncio.gather(*(self.keeping - set(but)))

    async def rouse(self, runtime_id: str, why: str) -> None:
        """Stands for the orchestrator: a paused runtime goes on, a stopped one begins to boot."""
        self.roused.append((runtime_id, why))
        view = self.board.get(runtime_id)
        phase = {Phase.PAUSED: Phase.READY, Phase.ASLEEP: Phase.BOOT}.get(view.phase, view.phase)
        self.board.put(replace(view, phase=phase))

    @property
    def doorkeeper(self) -> Doorkeeper:
        return Doorkeeper(
            site=self.site, accounts=self.accounts, sessions=self.sessions, inspections=self.inspections,
            runtimes=self.runtimes, board=self.board, waker=self, activity=self.activity,
        )  # fmt: skip

    async def open_dashboard(self) -> None:
        """Serve the public listener."""
        first_run = FirstRun(
            self.db, self.audit, accounts=self.accounts, factors=self.factors, models=self.models,
            invitations=self.invitations, ledger=self.ledger,
        )  # fmt: skip
        door = f"127.0.0.1:{self.tools_port}"
        app = dashboard_app(
            doorkeeper=self.doorkeeper, site=self.site, accounts=self.accounts, invitations=self.invitations,
            sessions=self.sessions, inspections=self.inspections, factors=self.factors, passkeys=self.passkeys,
            handover=self.handover, runtimes=self.runtimes, models=self.models, backends=self.backends,
            groups=self.groups, ledger=self.ledger, reports=self.reports, limits=self.budgets, burn=self.burn,
            decoys=self.decoys, egress=self.egress, stacks=self.library, keys=self.keys, tokens=self.tokens,
            resets=self.resets, mailing=self.mailing, issuers=self.issuers, arrivals=self.arrivals, first_run=first_run,
            trials=Trials(self.models, self.directory, self.audit, self.http, door=door),
            audit=self.audit, board=self.board, waker=self, activity=self.activity, hooks=self.hooks, host=self,
            connections=self.connections,
            workspaces=self.workspaces, logs=self.logs, rollouts=self.rollouts, certificates=self.certificates,
            gauges=self.gauges, upkeep=self.upkeep, backups=self.backups, runtime_port=self.runtime_port,
        )  # fmt: skip
        self.dashboard = await serve(app, self.site.port)

    async def close_dashboard(self) -> None:
        if self.dashboard is not None:
            await self.dashboard.cleanup()

    async def member(self, login: str, role: Role = Role.MEMBER) -> User:
        """A user without a usable password: tests that sign in make theirs through an invitation."""
        user = User("u" + secrets.token_hex(8), login, login.title(), role, "-", None, now_ms())
        await users.add(self.db, user)
        self.accounts.remember(user)
        return user

    async def signed_in(self, user: User) -> tuple[str, Session]:
        return await self.sessions.issue(user.id, SessionKind.DASHBOARD)

    async def workspace(self, user: User, phase: Phase = Phase.READY, address: str | None = "127.0.0.1") -> Runtime:
        runtime = await self.runtimes.open(user)
        self.show(runtime, phase, address=address)
        return runtime

    def show(self, runtime: Runtime, phase: Phase, *, reason: str = "", address: str | None = None) -> None:
        self.board.know(runtime)
        self.board.put(View(runtime.id, phase, reason=reason, address=address, since=now_ms()))

    async def inside(self, user: User, runtime: Runtime) -> tuple[str, Session]:
        """A workspace session, with the dashboard session it came from."""
        _, parent = await self.signed_in(user)
        return await self.sessions.issue(user.id, SessionKind.WORKSPACE, runtime_id=runtime.id, parent=parent)

    async def ask(
        self, method: str, path: str, *, host: str = "", headers: dict[str, str] | None = None, data: object = None
    ) -> aiohttp.ClientResponse:
        """One request to the public listener; `host` is a workspace's, or the dashboard's when left out."""
        sent = {"Host": host or self.site.authority, **(headers or {})}
        url = f"http://127.0.0.1:{self.site.port}"
        reply = await self.http.request(
            method, URL(url + path, encoded=True), headers=sent, data=data, allow_redirects=False
        )
        await reply.read()
        return reply

    async def page(self, path: str, token: str = "", *, host: str = "") -> aiohttp.ClientResponse:
        name = cookies.WORKSPACE if host else cookies.SESSION
        return await self.ask(
            "GET", path, host=host, headers={**NAVIGATE, **({"Cookie": f"{name}={token}"} if token else {})}
        )

    async def send(self, path: str, token: str, **fields: str) -> aiohttp.ClientResponse:
        """A form as our own page sends it."""
        return await self.send_rows(path, token, list(fields.items()))

    async def send_rows(self, path: str, token: str, rows: list[tuple[str, str]]) -> aiohttp.ClientResponse:
        """The same for a form with several fields of one name."""
        return await self.ask(
            "POST",
            path,
            headers={
                **NAVIGATE,
                "Origin": self.site.origin,
                "Sec-Fetch-Site": "same-origin",
                "Cookie": f"{cookies.SESSION}={token}",
            },
            data=[("csrf", cookies.csrf_of(token)), *rows],
        )


async def serve(app: web.Application, port: int, host: str = "127.0.0.1") -> web.AppRunner:
    """As in production: a real runner, whose handlers are cancelled when their client leaves."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=2.0, max_field_size=MOST_FIELD)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


async def listen(stack: AsyncExitStack, app: web.Application, port: int, host: str = "127.0.0.1") -> None:
    stack.push_async_callback((await serve(app, port, host)).cleanup)


def cookie_of(reply: aiohttp.ClientResponse, name: str) -> str:
    """The value that this answer sets for a cookie, "" when it sets none."""
    for header in reply.headers.getall("Set-Cookie", []):
        found = re.match(rf"{re.escape(name)}=([^;]*)", header)
        if found:
            return found.group(1)
    return ""
