"""A box without Docker: the real services on SQLite, a real Board with views put into it, both real listeners."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.backends import Backends
from clawloops.control.budgets import Budgets
from clawloops.control.burn import BurnGuard
from clawloops.control.connecting import BundledParts
from clawloops.control.groups import Groups
from clawloops.control.handover import Handover
from clawloops.control.hooks import Hooks
from clawloops.control.invitations import Invitations
from clawloops.control.keys import Keys
from clawloops.control.ledger import Ledger
from clawloops.control.library import Library
from clawloops.control.models import Models
from clawloops.control.prices import Prices
from clawloops.control.rollouts import Rollouts
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.control.workspaces import Workspaces
from clawloops.gateway.health import Health
from clawloops.gateway.journal import Journal
from clawloops.gateway.queue import Queue
from clawloops.gateway.route import Directory
from clawloops.model.account import Role, Session, SessionKind, User
from clawloops.model.runtime import Phase, Runtime, View
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.admission import Box as Room
from clawloops.orchestrator.admission import Gate
from clawloops.orchestrator.board import Board
from clawloops.runtimes.client import Engine
from clawloops.runtimes.spec import Install
from clawloops.store import users
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from clawloops.store.seal import Sealer
from clawloops.web import cookies
from clawloops.web.context import Site, Stranger
from clawloops.web.routes import auth_app, dashboard_app

BASE = "clawloops.localhost"
IMAGE = "clawloops/openclaw:2"
NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))  # free on every address: some listen on 127.0.0.2, too
        return int(probe.getsockname()[1])


@dataclass
class Box:
    """`http` keeps no cookies and follows no redirects: every test says itself what the browser sends."""

    site: Site
    db: Database
    accounts: Accounts
    invitations: Invitations
    sessions: Sessions
    handover: Handover
    runtimes: Runtimes
    hooks: Hooks
    workspaces: Workspaces
    rollouts: Rollouts
    models: Models
    backends: Backends
    health: Health
    queue: Queue
    groups: Groups
    ledger: Ledger
    budgets: Budgets
    burn: BurnGuard
    library: Library
    keys: Keys
    audit: Audit
    board: Board
    journal: Journal
    directory: Directory
    http: aiohttp.ClientSession
    auth_port: int
    runtime_port: int
    woken: list[str] = field(default_factory=list)
    roused: list[tuple[str, str]] = field(default_factory=list)
    activity: Activity = field(default_factory=Activity)
    gate: Gate = field(default_factory=lambda: Gate(lambda: Room(memory_mb=9000, disk_mb=80_000, swap_mb=0), slots=1))
    strangers: Sequence[Stranger] = ()
    dashboard: web.AppRunner | None = None

    async def rouse(self, runtime_id: str, why: str) -> None:
        """Stands for the orchestrator: a paused runtime goes on, a stopped one begins to boot."""
        self.roused.append((runtime_id, why))
        view = self.board.get(runtime_id)
        phase = {Phase.PAUSED: Phase.READY, Phase.ASLEEP: Phase.BOOT}.get(view.phase, view.phase)
        self.board.put(replace(view, phase=phase))

    async def open_dashboard(self) -> None:
        """Serve the public listener."""
        app = dashboard_app(
            site=self.site, accounts=self.accounts, invitations=self.invitations, sessions=self.sessions,
            handover=self.handover, runtimes=self.runtimes,
            models=self.models, backends=self.backends, groups=self.groups, ledger=self.ledger,
            limits=self.budgets, burn=self.burn, stacks=self.library,
            keys=self.keys, audit=self.audit,
            board=self.board, waker=self, activity=self.activity, hooks=self.hooks, host=self,
            workspaces=self.workspaces, rollouts=self.rollouts, runtime_port=self.runtime_port,
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


@asynccontextmanager
async def opened_box(folder: Path) -> AsyncIterator[Box]:
    async with AsyncExitStack() as stack:
        db = await open_database(f"sqlite:///{folder}/clawloops.db")
        stack.push_async_callback(db.close)
        await migrate(db, backup_dir=folder / "backups")
        port, auth_port, runtime_port = free_port(), free_port(), free_port()
        ca_file = folder / "ca.crt"
        ca_file.write_text("-----BEGIN CERTIFICATE-----\n")
        site = Site(
            origin=f"http://{BASE}:{port}", base=BASE, scheme="http", port=port, secure=False,
            ca_file=ca_file, has_ollama=True, has_litellm=True,
            memory_mb=2048, cpus=2.0,
        )  # fmt: skip
        http = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True)
        )
        audit, sessions, board, directory = Audit(db, b"key"), Sessions(db), Board(), Directory()
        accounts = Accounts(db, sessions, audit)
        woken: list[str] = []
        runtimes = Runtimes(db, audit, pool=IPv4Network("10.201.0.0/24"), wake=woken.append)
        bundled = BundledParts(ollama_url="", litellm_url="", litellm_key="")
        sealer = Sealer(secrets.token_bytes(32), install_id="0" * 8)
        keeping: set[asyncio.Task[None]] = set()

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
        accounts.on_disabled = runtimes.stop_for
        install = Install(install_id="0" * 8, data=str(folder), edge="", image=IMAGE)
        box = Box(
            site=site, accounts=accounts, sessions=sessions, runtimes=runtimes, board=board, db=db,
            hooks=Hooks(db, audit, wake=woken.append),
            rollouts=Rollouts(db, audit, install=install, look=lambda: woken.append("")),
            workspaces=Workspaces(
                db, audit, runtimes, Engine(), install_id="0" * 8, data=str(folder), wake=woken.append
            ),
            invitations=Invitations(db, accounts, audit, origin=site.origin), handover=Handover(sessions),
            models=models, backends=backends, health=health, queue=queue,
            groups=Groups(db, audit, changed=models.changed),
            ledger=ledger, budgets=Budgets(db, audit, ledger, keep=keep), burn=BurnGuard(db, audit, keep=keep),
            library=library,
            keys=Keys(db, audit, directory),
            audit=audit, journal=journal, directory=directory, http=http,
            auth_port=auth_port, runtime_port=runtime_port, woken=woken,
        )  # fmt: skip
        auth = auth_app(
            site=site, accounts=accounts, sessions=sessions, runtimes=runtimes, board=board, waker=box,
            activity=box.activity,
        )  # fmt: skip
        await listen(stack, auth, auth_port)
        stack.push_async_callback(box.close_dashboard)
        await box.open_dashboard()
        yield box


async def serve(app: web.Application, port: int, host: str = "127.0.0.1") -> web.AppRunner:
    """As in production: a real runner, whose handlers are cancelled when their client leaves."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=2.0)
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
