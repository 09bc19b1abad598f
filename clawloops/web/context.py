"""What handlers find in their application and their request, each under a typed key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aiohttp import ClientSession, MultipartReader, web
from multidict import MultiDict

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
from clawloops.control.entrance import Entrance
from clawloops.control.factors import Factors
from clawloops.control.first_run import FirstRun
from clawloops.control.groups import Groups
from clawloops.control.handover import Handover
from clawloops.control.inspections import Inspections
from clawloops.control.invitations import Invitations
from clawloops.control.issuer import Issuers
from clawloops.control.keys import Keys
from clawloops.control.ledger import Sums
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
from clawloops.errors import ClawLoopsError
from clawloops.model.account import Session, User
from clawloops.model.runtime import Limits, Sandbox, Size, limits
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.admission import Gate
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.gauges import Gauges
from clawloops.orchestrator.walls import Walls

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """How browsers reach this box, and which optional parts it has."""

    origin: str  # the dashboard's, as a browser writes it: no port where it is the scheme's own
    base: str  # host name of the dashboard
    scheme: str
    port: int
    secure: bool  # HTTPS
    ca_file: Path | None  # this box's own certificate authority, offered for download; None with other certificates
    has_ollama: bool
    has_litellm: bool
    memory_mb: int  # limits of a medium workspace
    cpus: float
    sandbox: Sandbox = Sandbox.RUNC  # what workspaces run in

    @property
    def authority(self) -> str:
        """The dashboard's host as browsers send it in `Host`: with the port where it is unusual."""
        return self.origin.split("://", 1)[1]

    def limits_of(self, size: Size) -> Limits:
        return limits(size, memory_mb=self.memory_mb, cpus=self.cpus)

    def workspace_host(self, slug: str) -> str:
        return f"{slug}.ws.{self.authority}"

    def workspace_origin(self, slug: str) -> str:
        return f"{self.scheme}://{self.workspace_host(slug)}"

    def slug_of(self, host: str) -> str | None:
        """The slug in a workspace's `Host`; None unless it is written exactly as a browser writes it."""
        slug, dot, rest = host.partition(".")
        fits = dot and rest == f"ws.{self.authority}" and _LABEL.fullmatch(slug)
        return slug if fits else None


class Waker(Protocol):
    """The part of the orchestrator that a visitor needs."""

    async def rouse(self, runtime_id: str, why: str) -> None:
        """End a runtime's sleep: a paused one goes on before this returns. Raises Unavailable."""


class Stranger(Protocol):
    """Something in Docker that carries our names or labels and is not ours."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def why(self) -> str:
        """A sentence for an administrator."""


class Host(Protocol):
    """The part of the orchestrator that tells of the box as a whole."""

    @property
    def gate(self) -> Gate: ...
    @property
    def strangers(self) -> Sequence[Stranger]: ...
    @property
    def walls(self) -> Walls: ...


SITE: web.AppKey[Site] = web.AppKey("site", Site)
ACCOUNTS: web.AppKey[Accounts] = web.AppKey("accounts", Accounts)
INVITATIONS: web.AppKey[Invitations] = web.AppKey("invitations", Invitations)
SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions", Sessions)
FACTORS: web.AppKey[Factors] = web.AppKey("factors", Factors)
PASSKEYS: web.AppKey[Passkeys] = web.AppKey("passkeys", Passkeys)
ENTRANCE: web.AppKey[Entrance] = web.AppKey("entrance", Entrance)
RESETS: web.AppKey[Resets] = web.AppKey("resets", Resets)
MAILING: web.AppKey[Mailing] = web.AppKey("mailing", Mailing)
ISSUERS: web.AppKey[Issuers] = web.AppKey("issuers", Issuers)
ARRIVALS: web.AppKey[Arrivals] = web.AppKey("arrivals", Arrivals)
HANDOVER: web.AppKey[Handover] = web.AppKey("handover", Handover)
INSPECTIONS: web.AppKey[Inspections] = web.AppKey("inspections", Inspections)
RUNTIMES: web.AppKey[Runtimes] = web.AppKey("runtimes", Runtimes)
MODELS: web.AppKey[Models] = web.AppKey("models", Models)
BACKENDS: web.AppKey[Backends] = web.AppKey("backends", Backends)
GROUPS: web.AppKey[Groups] = web.AppKey("groups", Groups)
BUDGETS: web.AppKey[Budgets] = web.AppKey("budgets", Budgets)
BURN: web.AppKey[BurnGuard] = web.AppKey("burn", BurnGuard)
DECOYS: web.AppKey[Decoys] = web.AppKey("decoys", Decoys)
EGRESS: web.AppKey[Egress] = web.AppKey("egress", Egress)
CONNECTIONS: web.AppKey[Connections] = web.AppKey("connections", Connections)
CERTIFICATES: web.AppKey[Certificates] = web.AppKey("certificates", Certificates)
LIBRARY: web.AppKey[Library] = web.AppKey("library", Library)
LEDGER: web.AppKey[Sums] = web.AppKey("ledger", Sums)
REPORTS: web.AppKey[Reports] = web.AppKey("reports", Reports)
KEYS: web.AppKey[Keys] = web.AppKey("keys", Keys)
TOKENS: web.AppKey[Tokens] = web.AppKey("tokens", Tokens)
FIRST_RUN: web.AppKey[FirstRun] = web.AppKey("first_run", FirstRun)
TRIALS: web.AppKey[Trials] = web.AppKey("trials", Trials)
AUDIT: web.AppKey[Audit] = web.AppKey("audit", Audit)
BOARD: web.AppKey[Board] = web.AppKey("board", Board)
WAKER: web.AppKey[Waker] = web.AppKey("waker", Waker)
LOGS: web.AppKey[Logs] = web.AppKey("logs", Logs)
WORKSPACES: web.AppKey[Workspaces] = web.AppKey("workspaces", Workspaces)
ROLLOUTS: web.AppKey[Rollouts] = web.AppKey("rollouts", Rollouts)
BACKUPS: web.AppKey[Backups] = web.AppKey("backups", Backups)
GAUGES: web.AppKey[Gauges] = web.AppKey("gauges", Gauges)
UPKEEP: web.AppKey[Upkeep] = web.AppKey("upkeep", Upkeep)
HOST: web.AppKey[Host] = web.AppKey("host", Host)
ACTIVITY: web.AppKey[Activity] = web.AppKey("activity", Activity)

UPSTREAM: web.AppKey[ClientSession] = web.AppKey("upstream", ClientSession)
"""The relay's way to runtimes. It belongs to the application and is closed with it."""

RUNTIME_PORT: web.AppKey[int] = web.AppKey("runtime_port", int)

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
NONCE: web.RequestKey[str] = web.RequestKey("nonce", str)
SLUG: web.RequestKey[str | None] = web.RequestKey("slug", str)
"""The workspace host that was asked for; None on the dashboard."""

STARTED: web.RequestKey[bool] = web.RequestKey("started", bool)
"""Set once the answer's head is on its way: from then on a failure can only cut the connection."""

COOKIES: web.RequestKey[Mapping[str, str]] = web.RequestKey("cookies", dict)
USER: web.RequestKey[User] = web.RequestKey("user", User)
SESSION: web.RequestKey[Session] = web.RequestKey("session", Session)
SENT: web.RequestKey[MultiDict[str]] = web.RequestKey("sent", MultiDict)
"""The fields of the form that came with this request."""

PARTS: web.RequestKey[MultipartReader] = web.RequestKey("parts", MultipartReader)
"""The rest of a form with a file, for the handlers of `middleware.UPLOADS`."""

REFUSED: web.RequestKey[ClawLoopsError] = web.RequestKey("refused", ClawLoopsError)
"""Why the form that was just sent was not accepted; the page is shown again with it."""
