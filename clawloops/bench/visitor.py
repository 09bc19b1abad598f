"""Members with sessions, made through the services while no control plane runs, and what their browsers ask for."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
from yarl import URL

from clawloops.bench.served import DASHBOARD
from clawloops.bench.stage import BASE, Stage
from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.errors import SetupError
from clawloops.model.account import Role, SessionKind, User
from clawloops.model.runtime import Sleep, Want
from clawloops.runtimes import names
from clawloops.runtimes.spec import PORT
from clawloops.store import runtimes as rows
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from clawloops.web import cookies

PATIENCE_S = 30
_KEY = b""  # of an audit that nobody verifies: the install lives for the benchmark

_PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


@dataclass(frozen=True, slots=True)
class Member:
    user: User
    runtime_id: str
    slug: str
    address: str
    dashboard: str  # the cookie of the dashboard's session
    workspace: str

    @property
    def host(self) -> str:
        return f"{self.slug}.ws.{BASE}"


@asynccontextmanager
async def database(stage: Stage) -> AsyncIterator[Database]:
    password = await asyncio.to_thread(Path(stage.password_file).read_text) if stage.password_file else None
    db = await open_database(stage.database, password=password and password.strip())
    try:
        await migrate(db, backup_dir=stage.data / "backups")
        yield db
    finally:
        await db.close()


async def members(stage: Stage, count: int, want: Want, *, role: Role = Role.MEMBER) -> list[Member]:
    """New ones, each with a workspace that is wanted so."""
    async with database(stage) as db:
        audit, sessions = Audit(db, _KEY), Sessions(db)
        accounts, runtimes = Accounts(db, sessions, audit), _runtimes(stage, db)
        made = []
        for _ in range(count):
            number = secrets.token_hex(8)
            user = User("u" + number, "m" + number, "Member", role, "-", None, now_ms())
            await accounts.keep(user)
            runtime = await runtimes.open(user)
            if want is not Want.RUNNING:
                await runtimes.wish(runtime.id, want, by=user)
            dashboard, parent = await sessions.issue(user.id, SessionKind.DASHBOARD)
            inside, _session = await sessions.issue(
                user.id, SessionKind.WORKSPACE, runtime_id=runtime.id, parent=parent
            )
            address = names.addresses(runtime.subnet).runtime
            made.append(Member(user, runtime.id, runtime.slug, address, dashboard, inside))
        return made


async def wish(stage: Stage, those: Sequence[Member], want: Want) -> None:
    """While no control plane runs."""
    async with database(stage) as db:
        runtimes = _runtimes(stage, db)
        for each in those:
            await runtimes.wish(each.runtime_id, want, by=each.user)


async def asleep(stage: Stage, those: Sequence[Member], sleep: Sleep) -> None:
    """They are wanted running and asleep, as if by the rules: OpenClaw, asked so soon after its boot, would be busy."""
    async with database(stage) as db:
        for each in those:
            row = await rows.get(db, each.runtime_id)
            if row is not None:
                await rows.put(db, replace(row, want=Want.RUNNING, sleep=sleep, sleep_why="It was benchmarked."))


async def settle(stage: Stage) -> None:
    """Those of earlier parts are stopped and keep their image: their sleep and upgrades are no part of the next."""
    async with database(stage) as db:
        for each in await rows.all(db):
            await rows.put(db, replace(each, want=Want.STOPPED, sleep=Sleep.AWAKE, pin=each.image))


def _runtimes(stage: Stage, db: Database) -> Runtimes:
    return Runtimes(db, Audit(db, _KEY), pool=stage.pool, wake=lambda _: None)


class Browser:
    """Through Traefik where there is one; without it, asks ForwardAuth and then the runtime, as Traefik does."""

    def __init__(self, http: aiohttp.ClientSession, front: str) -> None:
        self._http = http
        self._front = front  # Traefik's address; "" without it

    @classmethod
    def on(cls, stage: Stage, http: aiohttp.ClientSession) -> Browser:
        return cls(http, stage.front_address if stage.traefik else "")

    async def press(self, member: Member, button: str) -> None:
        """A button on the dashboard: open, start, stop or delete."""
        async with self._http.post(
            f"{DASHBOARD}/workspace/{button}",
            headers={
                **_PAGE,
                "Host": BASE,
                "Origin": f"http://{BASE}",
                "Sec-Fetch-Site": "same-origin",
                "Cookie": f"{cookies.SESSION}={member.dashboard}",
            },
            data={"csrf": cookies.csrf_of(member.dashboard)},
            allow_redirects=False,
        ) as answer:
            if answer.status != 303:
                raise SetupError(f"{button} was answered with {answer.status}: {(await answer.text())[-300:]}")

    async def visit(self, member: Member) -> tuple[float, str]:
        """Open the workspace's page. Returns the seconds until the first byte, and "" or why it was not let in."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._visit(member, began)
        except TimeoutError:
            return time.monotonic() - began, f"no answer within {PATIENCE_S} s"

    async def let_in(self, member: Member, *, seconds: float = 10) -> float:
        """Visit again and again until they are let in (Traefik reads labels every two seconds or so).

        Returns when that was, by the monotonic clock. Raises SetupError with what they were told last.
        """
        until, told = time.monotonic() + seconds, "nothing"
        while time.monotonic() < until:
            try:
                _, told = await self.visit(member)
            except aiohttp.ClientError as error:
                told = str(error)
            if not told:
                return time.monotonic()
            await asyncio.sleep(0.02)
        raise SetupError(f"nobody is let in to {member.host}: {told}")

    async def _visit(self, member: Member, began: float) -> tuple[float, str]:
        if self._front:
            url, sent = f"http://{self._front}:8080/", self._asked(member)
        else:
            passed = await self._forward_auth(member)
            if passed is None:
                return time.monotonic() - began, "ForwardAuth sent it away"
            url, sent = f"http://{member.address}:{PORT}/", passed
        async with self._http.get(URL(url), headers=sent, allow_redirects=False) as answer:
            first = await answer.content.readany()
            took = time.monotonic() - began
            await answer.read()
            let_in = answer.status == 200 and b"<!doctype html" in first.lower()
            told = answer.headers.get("Location") or " ".join(first[:200].decode(errors="replace").split())
            return took, "" if let_in else f"{answer.status} {told}"

    def _asked(self, member: Member) -> dict[str, str]:
        return {**_PAGE, "Host": member.host, "Cookie": f"{cookies.WORKSPACE}={member.workspace}"}

    async def _forward_auth(self, member: Member) -> dict[str, str] | None:
        told = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": member.host,
            "X-Forwarded-Uri": "/",
            "X-Forwarded-For": "192.0.2.1",
        }
        url = f"http://127.0.0.1:8082/forward-auth/{member.runtime_id}"
        async with self._http.get(url, headers={**self._asked(member), **told}, allow_redirects=False) as answer:
            if answer.status != 200:
                return None
            given = {name: answer.headers[name] for name in ("X-Clawloops-User", "X-OpenClaw-Scopes")}
        return {**_PAGE, "Host": member.host, **told, **given}
