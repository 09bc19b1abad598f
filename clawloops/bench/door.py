"""ForwardAuth's real listener in a process of its own: `python -m clawloops.bench.door DATA`.

A few members with workspaces that are ready, and a session of each there. Prints its port once it listens; what it is
asked about each is in DATA/asked.json: path, host and cookie. SIGUSR1 revokes one session after the other. With
`--empty`, an aiohttp handler that does nothing listens in its place.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from aiohttp import web

from clawloops.background import calm_collector
from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.inspections import Inspections
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.log import configure
from clawloops.model.account import Role, SessionKind, User
from clawloops.model.runtime import Phase, View
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.board import Board
from clawloops.store.db import open_database
from clawloops.store.migrate import migrate
from clawloops.web import cookies
from clawloops.web.apps import auth_door
from clawloops.web.context import Site
from clawloops.web.visit import Doorkeeper

MEMBERS = 8
_BASE = "bench.localhost"


class Nobody:
    """Stands for the orchestrator: nothing here sleeps."""

    async def rouse(self, runtime_id: str, why: str) -> None:
        raise RuntimeError("a workspace that is ready is not roused")


async def main(data: Path) -> None:
    site = Site(
        origin=f"http://{_BASE}", base=_BASE, scheme="http", port=80, secure=False, ca_file=None, has_ollama=False,
        has_litellm=False, memory_mb=2048, cpus=2.0,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        db = await open_database(f"sqlite:///{data}/clawloops.db")
        stack.push_async_callback(db.close)
        await migrate(db, backup_dir=data / "backups")
        audit, sessions, board = Audit(db, b""), Sessions(db), Board()
        accounts = Accounts(db, sessions, audit)
        runtimes = Runtimes(db, audit, pool=ipaddress.IPv4Network("10.201.0.0/24"), wake=lambda _: None)
        doorkeeper = Doorkeeper(
            site=site,
            accounts=accounts,
            sessions=sessions,
            inspections=Inspections(db, accounts, sessions, audit),
            runtimes=runtimes,
            board=board,
            waker=Nobody(),
            activity=Activity(),
        )
        asked, issued = [], []
        for number in range(MEMBERS):
            user = User("u" + secrets.token_hex(8), f"m{number}", "Mia", Role.MEMBER, "-", None, now_ms())
            await accounts.keep(user)
            accounts.remember(user)
            runtime = await runtimes.open(user)
            board.know(runtime)
            board.put(View(runtime.id, Phase.READY, address="127.0.0.1", since=now_ms()))
            _, parent = await sessions.issue(user.id, SessionKind.DASHBOARD)
            token, session = await sessions.issue(user.id, SessionKind.WORKSPACE, runtime_id=runtime.id, parent=parent)
            issued.append(session)
            host = site.workspace_host(runtime.slug)
            cookie = f"theme=dark; {cookies.WORKSPACE}={token}"
            asked.append({"path": f"/forward-auth/{runtime.id}", "host": host, "cookie": cookie})
        await asyncio.to_thread((data / "asked.json").write_text, json.dumps(asked))
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
        print(await auth_door(doorkeeper).listen("127.0.0.1", 0), flush=True)
        calm_collector()
        for session in issued:
            await told.wait()
            told.clear()
            await sessions.revoke(session)
        await asyncio.Event().wait()


async def empty() -> None:
    """What aiohttp itself costs."""

    async def nothing(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/{any:.*}", nothing)
    async with AsyncExitStack() as stack:
        await _serve(stack, app)


async def _serve(stack: AsyncExitStack, app: web.Application) -> None:
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, auto_decompress=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    calm_collector()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    configure("warning")
    uvloop.run(empty() if sys.argv[1] == "--empty" else main(Path(sys.argv[1])))
