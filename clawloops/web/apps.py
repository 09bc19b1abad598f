"""Builds the dashboard and ForwardAuth: the services behind every page, and each route behind its access check."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from aiohttp import web

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
from clawloops.errors import BadInput, Forbidden, NotSignedIn, TooManyAttempts
from clawloops.model.account import Role
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.gauges import Gauges
from clawloops.web import confirm, context, files, middleware, webhook
from clawloops.web.addresses import is_navigation
from clawloops.web.api import door
from clawloops.web.context import ACCOUNTS, FACTORS, REFUSED, SENT, SESSION, SESSIONS, USER, Host, Site, Waker
from clawloops.web.errors import status_of
from clawloops.web.forward_auth import forward_auth
from clawloops.web.pages import PAGES, Pages
from clawloops.web.refusals import REFUSALS, Refusals
from clawloops.web.relay import runtime_session
from clawloops.web.routes import DASHBOARD, WORKSPACE, For, Page, Proof, Route
from clawloops.web.visit import DOORKEEPER, Away, Doorkeeper
from clawloops.web.watch import WATCHES, Watches
from clawloops.wire.server import Server

TEMPLATE_FOLDER = Path(__file__).parents[2] / "templates"
OPENCLAW_PORT = 18789
MAX_FORM_BYTES = 64 * 1024


def dashboard_app(
    *,
    doorkeeper: Doorkeeper,
    site: Site,
    accounts: Accounts,
    invitations: Invitations,
    sessions: Sessions,
    factors: Factors,
    passkeys: Passkeys,
    resets: Resets,
    mailing: Mailing,
    issuers: Issuers,
    arrivals: Arrivals,
    handover: Handover,
    inspections: Inspections,
    runtimes: Runtimes,
    models: Models,
    backends: Backends,
    groups: Groups,
    ledger: Ledger,
    reports: Reports,
    limits: Budgets,
    burn: BurnGuard,
    decoys: Decoys,
    egress: Egress,
    stacks: Library,
    keys: Keys,
    tokens: Tokens,
    first_run: FirstRun,
    trials: Trials,
    audit: Audit,
    board: Board,
    waker: Waker,
    activity: Activity,
    hooks: Hooks,
    connections: Connections,
    host: Host,
    workspaces: Workspaces,
    logs: Logs,
    rollouts: Rollouts,
    certificates: Certificates,
    gauges: Gauges,
    upkeep: Upkeep,
    backups: Backups,
    templates: Path = TEMPLATE_FOLDER,
    runtime_port: int = OPENCLAW_PORT,
) -> web.Application:
    """The dashboard's host and every workspace's host, behind Traefik."""
    watches, waiting, held, refusals = Watches(), webhook.Waiting(), confirm.Held(), Refusals()
    own_files = files.Files()
    pages = Pages(site, own_files, templates)
    entrance = Entrance(accounts, factors, passkeys, sessions, issuers, spot=decoys.spot)

    def fill(app: web.Application) -> web.Application:
        app[context.SITE] = site
        app[context.ACCOUNTS] = accounts
        app[context.SESSIONS] = sessions
        app[context.BOARD] = board
        app[context.WAKER] = waker
        app[context.ACTIVITY] = activity
        app[context.INVITATIONS] = invitations
        app[context.FACTORS], app[context.PASSKEYS] = factors, passkeys
        app[context.ENTRANCE] = entrance
        app[context.RESETS], app[context.MAILING] = resets, mailing
        app[context.ISSUERS], app[context.ARRIVALS] = issuers, arrivals
        app[context.HANDOVER], app[context.INSPECTIONS] = handover, inspections
        app[context.RUNTIMES] = runtimes
        app[context.MODELS] = models
        app[context.BACKENDS] = backends
        app[context.GROUPS] = groups
        app[context.LEDGER], app[context.REPORTS] = ledger, reports
        app[context.BUDGETS], app[context.BURN] = limits, burn
        app[context.DECOYS], app[context.EGRESS] = decoys, egress
        app[context.LIBRARY] = stacks
        app[context.KEYS], app[context.TOKENS] = keys, tokens
        app[context.FIRST_RUN], app[context.TRIALS] = first_run, trials
        app[context.AUDIT] = audit
        app[context.HOST] = host
        app[context.WORKSPACES], app[context.LOGS] = workspaces, logs
        app[context.ROLLOUTS] = rollouts
        app[context.CERTIFICATES] = certificates
        app[context.GAUGES], app[context.UPKEEP], app[context.BACKUPS] = gauges, upkeep, backups
        app[context.RUNTIME_PORT] = runtime_port
        app[context.CONNECTIONS], app[confirm.HELD] = connections, held
        app[webhook.HOOKS], app[webhook.WAITING] = hooks, waiting
        app[REFUSALS] = refusals
        app[DOORKEEPER], app[WATCHES], app[PAGES], app[files.FILES] = doorkeeper, watches, pages, own_files
        return app

    app = fill(web.Application(middlewares=middleware.MIDDLEWARES, client_max_size=MAX_FORM_BYTES))
    hosts = fill(web.Application())
    _register(hosts, WORKSPACE)
    app.add_domain(f"*.ws.{site.authority}", hosts)
    _register(app, DASHBOARD)
    door.register(app)
    app.on_response_prepare.append(middleware.add_headers)
    app.on_startup.append(_open_upstream)
    app.on_shutdown.append(watches.close)
    app.on_cleanup.append(waiting.close)
    app.on_cleanup.append(_close_upstream)
    return app


def auth_door(doorkeeper: Doorkeeper, *, templates: Path = TEMPLATE_FOLDER) -> Server:
    """ForwardAuth. It must listen where nobody but Traefik can reach it."""
    return forward_auth(doorkeeper, Pages(doorkeeper.site, files.Files(), templates))


def _register(app: web.Application, table: tuple[Route, ...]) -> None:
    for route in table:
        app.router.add_route(route.method, route.path, _guard(route))


def _guard(route: Route) -> Page:
    """The handler behind its checks of access and of proof, and the page again when the form was refused."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if route.access is not For.ANYBODY and not _is_in(request):
            raise NotSignedIn("You are not signed in, or your session has ended. Sign in again.")
        if route.access is not For.ANYBODY:
            _check_role(route.access, request[USER].role)
        if route.access is not For.ANYBODY and not route.setup:
            _demand_factor(request)
        try:
            middleware.no_nul(request.get(SENT) or {})
            if route.proof is Proof.ASKED and (question := await confirm.ask(request)) is not None:
                return question
            return await route.page(request)
        except (BadInput, NotSignedIn, TooManyAttempts) as refused:
            if route.again is None:
                raise
            request[REFUSED] = refused
            reply = await route.again(request)
            reply.set_status(status_of(refused))
            return reply

    return guarded


def _check_role(access: For, role: Role) -> None:
    """Raises Forbidden."""
    match access:
        case For.MEMBER if not role.works:
            raise Forbidden("You are a viewer here: you see how the box does. An admin can make you a member.")
        case For.OVERSEER if not role.oversees:
            raise Forbidden("This page is for admins and viewers. Ask one of yours.")
        case For.ADMIN if not role.administers:
            raise Forbidden("This page is for admins. Ask one of yours.")
        case For.ANYBODY | For.PERSON | For.MEMBER | For.OVERSEER | For.ADMIN:
            return


def _is_in(request: web.Request) -> bool:
    """Whether they are signed in, still: whoever sends a form may hold back its end until long after they were."""
    if USER not in request or not request.app[SESSIONS].is_live(request[SESSION]):
        return False
    request[USER] = request.app[ACCOUNTS].get(request[USER].id)  # as they are by now
    return request[USER].disabled_at is None


def _demand_factor(request: web.Request) -> None:
    """Lead whoever lacks a second factor that this box demands to where it is set up."""
    if request.app[FACTORS].is_missing(request[USER]):
        if is_navigation(request.method, request.headers):
            raise Away("/account", status=303)
        raise Forbidden("This box asks you for a second factor. Set one up under Your account first.")


async def _open_upstream(app: web.Application) -> None:
    app[context.UPSTREAM] = runtime_session()


async def _close_upstream(app: web.Application) -> None:
    session: aiohttp.ClientSession = app[context.UPSTREAM]
    await session.close()
