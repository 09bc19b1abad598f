"""Every address of both listeners, and what it takes to be let through. Start reading here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import aiohttp
from aiohttp import web

from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.backends import Backends
from clawloops.control.budgets import Budgets
from clawloops.control.burn import BurnGuard
from clawloops.control.groups import Groups
from clawloops.control.handover import Handover
from clawloops.control.hooks import Hooks
from clawloops.control.invitations import Invitations
from clawloops.control.keys import Keys
from clawloops.control.ledger import Ledger
from clawloops.control.library import Library
from clawloops.control.models import Models
from clawloops.control.rollouts import Rollouts
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.control.workspaces import Workspaces
from clawloops.errors import BadInput, Forbidden, NotSignedIn, TooManyAttempts
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.board import Board
from clawloops.web import (
    account,
    box,
    budgets,
    context,
    files,
    forward_auth,
    handover,
    health,
    home,
    library,
    members,
    middleware,
    models,
    names,
    opening,
    shelf,
    sign_in,
    waking,
    webhook,
    workspace,
)
from clawloops.web import keys as own_tools
from clawloops.web.context import REFUSED, USER, Host, Site, Waker
from clawloops.web.errors import status_of
from clawloops.web.pages import TEMPLATES, load_templates
from clawloops.web.relay import runtime_session
from clawloops.web.visit import PLACES, Places
from clawloops.web.watch import WATCHES, Watches

TEMPLATE_FOLDER = Path(__file__).parents[2] / "templates"
OPENCLAW_PORT = 18789
MAX_FORM_BYTES = 64 * 1024

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


class For(Enum):
    """Who may come in."""

    ANYBODY = "anybody"
    MEMBER = "member"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    page: Page
    access: For
    again: Page | None = None  # the page that shows a refused form once more, with what was wrong beside the field


DASHBOARD = (
    Route("GET", "/healthz", health.show, For.ANYBODY),
    Route("GET", "/ca.crt", health.certificate, For.ANYBODY),
    Route("GET", "/static/{name}", files.show, For.ANYBODY),
    Route("GET", "/sign-in", sign_in.show, For.ANYBODY),
    Route("POST", "/sign-in", sign_in.sign_in, For.ANYBODY, again=sign_in.show),
    Route("POST", "/sign-out", sign_in.sign_out, For.MEMBER),
    Route("GET", "/account", account.show, For.MEMBER),
    Route("POST", "/account/password", account.change_password, For.MEMBER, again=account.show),
    Route("POST", "/account/sessions/end", account.end_others, For.MEMBER),
    Route("POST", "/account/sessions/{id}/end", account.end, For.MEMBER),
    Route("GET", "/join/{token}", sign_in.show_join, For.ANYBODY),
    Route("POST", "/join/{token}", sign_in.join, For.ANYBODY, again=sign_in.show_join),
    Route("GET", "/", home.show, For.MEMBER),
    Route("GET", "/live", home.live, For.MEMBER),
    Route("GET", "/workspace/opening", opening.show, For.MEMBER),
    Route("GET", "/workspace/opening/live", opening.live, For.MEMBER),
    Route("POST", "/workspace/open", opening.open_, For.MEMBER),
    Route("GET", "/workspace", workspace.show, For.MEMBER),
    Route("GET", "/workspace/live", workspace.live, For.MEMBER),
    Route("GET", "/workspace/history", workspace.history, For.MEMBER),
    Route("POST", "/workspace/start", workspace.start, For.MEMBER),
    Route("POST", "/workspace/stop", workspace.stop, For.MEMBER),
    Route("POST", "/workspace/restart", workspace.restart, For.MEMBER),
    Route("POST", "/workspace/delete", workspace.delete, For.MEMBER),
    Route("POST", "/workspace/resume", workspace.resume, For.MEMBER),
    Route("POST", "/workspace/settings", workspace.settle, For.MEMBER, again=workspace.show),
    Route("POST", "/workspace/webhook", workspace.webhook, For.MEMBER),
    Route("GET", "/workspace/files", shelf.show, For.MEMBER),
    Route("GET", "/workspace/files/live", shelf.live, For.MEMBER),
    Route("POST", "/workspace/files/snapshot", shelf.snapshot, For.MEMBER),
    Route("POST", "/workspace/files/restore", shelf.restore, For.MEMBER),
    Route("POST", "/workspace/files/trash", shelf.put_away, For.MEMBER),
    Route("POST", "/workspace/files/give", shelf.give, For.MEMBER, again=shelf.show),
    Route("POST", "/workspace/files/reset", shelf.reset, For.MEMBER),
    Route("POST", "/workspace/files/export", shelf.export, For.MEMBER),
    Route("GET", "/workspace/files/exports/{job}", shelf.download, For.MEMBER),
    Route("POST", "/workspace/files/import", shelf.bring, For.MEMBER, again=shelf.show),
    Route("POST", "/workspace/files/jobs/{job}/cancel", shelf.cancel, For.MEMBER),
    Route("GET", "/handover", handover.give, For.MEMBER),
    Route("GET", "/keys", own_tools.show, For.MEMBER),
    Route("POST", "/keys", own_tools.make, For.MEMBER, again=own_tools.show),
    Route("POST", "/keys/{id}/revoke", own_tools.revoke, For.MEMBER),
    Route("GET", "/models", models.show, For.ADMIN),
    Route("POST", "/models", models.connect, For.ADMIN, again=models.show),
    Route("POST", "/models/backends/{id}/remove", models.disconnect, For.ADMIN),
    Route("POST", "/models/backends/{id}/load", models.set_load, For.ADMIN, again=models.show),
    Route("POST", "/models/backends/{id}/keys", models.add_key, For.ADMIN, again=models.show),
    Route("POST", "/models/backends/{id}/keys/{key}/remove", models.remove_key, For.ADMIN),
    Route("POST", "/models/names", names.publish, For.ADMIN, again=models.show),
    Route("GET", "/models/names/{id}", names.show, For.ADMIN),
    Route("POST", "/models/names/{id}", names.change, For.ADMIN, again=names.show),
    Route("POST", "/models/names/{id}/remove", names.remove, For.ADMIN),
    Route("POST", "/models/names/{id}/price", names.set_price, For.ADMIN, again=names.show),
    Route("POST", "/models/names/{id}/default", names.set_default, For.ADMIN),
    Route("GET", "/members", members.show, For.ADMIN),
    Route("POST", "/members", members.invite, For.ADMIN, again=members.show),
    Route("POST", "/members/invitations/{id}/withdraw", members.withdraw, For.ADMIN),
    Route("POST", "/members/groups", members.make_group, For.ADMIN, again=members.show),
    Route("POST", "/members/groups/{id}", members.change_group, For.ADMIN, again=members.show),
    Route("POST", "/members/groups/{id}/remove", members.remove_group, For.ADMIN),
    Route("POST", "/members/{id}/disable", members.disable, For.ADMIN),
    Route("POST", "/members/{id}/enable", members.enable, For.ADMIN),
    Route("GET", "/models/library/{id}", library.show, For.ADMIN),
    Route("GET", "/models/library/{id}/live", library.live, For.ADMIN),
    Route("POST", "/models/library/{id}/pull", library.pull, For.ADMIN, again=library.show),
    Route("POST", "/models/library/{id}/pulls/{pull}/cancel", library.cancel, For.ADMIN),
    Route("POST", "/models/library/{id}/import", library.bring, For.ADMIN, again=library.show),
    Route("POST", "/models/library/{id}/load", library.load, For.ADMIN, again=library.show),
    Route("POST", "/models/library/{id}/unload", library.unload, For.ADMIN, again=library.show),
    Route("POST", "/models/library/{id}/offer", library.offer, For.ADMIN, again=library.show),
    Route("POST", "/models/library/{id}/context", library.set_context, For.ADMIN, again=library.show),
    Route("POST", "/models/library/{id}/remove", library.remove, For.ADMIN, again=library.show),
    Route("GET", "/budgets", budgets.show, For.ADMIN),
    Route("POST", "/budgets", budgets.add, For.ADMIN, again=budgets.show),
    Route("POST", "/budgets/{id}", budgets.change, For.ADMIN, again=budgets.show),
    Route("POST", "/budgets/{id}/remove", budgets.remove, For.ADMIN),
    Route("GET", "/box", box.show, For.ADMIN),
    Route("GET", "/box/live", box.live, For.ADMIN),
    Route("POST", "/box/upgrade/canary", box.choose_canary, For.ADMIN),
    Route("POST", "/box/upgrade/again", box.try_again, For.ADMIN),
    Route("GET", "/box/workspaces/{id}", workspace.show, For.ADMIN),
    Route("GET", "/box/workspaces/{id}/live", workspace.live, For.ADMIN),
    Route("GET", "/box/workspaces/{id}/history", workspace.history, For.ADMIN),
    Route("POST", "/box/workspaces/{id}/start", workspace.start, For.ADMIN),
    Route("POST", "/box/workspaces/{id}/stop", workspace.stop, For.ADMIN),
    Route("POST", "/box/workspaces/{id}/restart", workspace.restart, For.ADMIN),
    Route("POST", "/box/workspaces/{id}/resume", workspace.resume, For.ADMIN),
    Route("POST", "/box/workspaces/{id}/settings", workspace.settle, For.ADMIN, again=workspace.show),
    Route("POST", "/box/workspaces/{id}/webhook", workspace.webhook, For.ADMIN),
)

WORKSPACE = (
    Route("GET", "/.clawloops/cb", handover.redeem, For.ANYBODY),
    Route("GET", "/.clawloops/waking", waking.show, For.ANYBODY),
    Route("GET", "/.clawloops/live", waking.live, For.ANYBODY),
    Route("GET", "/.clawloops/static/{name}", files.show, For.ANYBODY),
    Route("*", "/.clawloops/{rest:.*}", waking.closed, For.ANYBODY),
    Route("*", "/api/v1/admin/rpc", waking.closed, For.ANYBODY),
    Route("*", "/hooks/{rest:.*}", webhook.deliver, For.ANYBODY),
    Route("*", "/{rest:.*}", waking.catch_all, For.ANYBODY),
)
"""On `<slug>.ws.<base>`: `visit.py` stands in for the access column, and upgrades go to the relay."""

LOOPBACK = (Route("GET", "/forward-auth/{runtime_id}", forward_auth.show, For.ANYBODY),)
"""For Traefik alone, on a listener of its own."""


def dashboard_app(
    *,
    site: Site,
    accounts: Accounts,
    invitations: Invitations,
    sessions: Sessions,
    handover: Handover,
    runtimes: Runtimes,
    models: Models,
    backends: Backends,
    groups: Groups,
    ledger: Ledger,
    limits: Budgets,
    burn: BurnGuard,
    stacks: Library,
    keys: Keys,
    audit: Audit,
    board: Board,
    waker: Waker,
    activity: Activity,
    hooks: Hooks,
    host: Host,
    workspaces: Workspaces,
    rollouts: Rollouts,
    templates: Path = TEMPLATE_FOLDER,
    runtime_port: int = OPENCLAW_PORT,
) -> web.Application:
    """The dashboard's host and every workspace's host, behind Traefik."""
    watches, places, own_files = Watches(), Places(runtimes), files.Files()
    waiting = webhook.Waiting()
    environment = load_templates(templates)

    def fill(app: web.Application) -> web.Application:
        _shared(app, site=site, accounts=accounts, sessions=sessions, board=board, waker=waker, activity=activity)
        app[context.INVITATIONS] = invitations
        app[context.HANDOVER] = handover
        app[context.RUNTIMES] = runtimes
        app[context.MODELS] = models
        app[context.BACKENDS] = backends
        app[context.GROUPS] = groups
        app[context.LEDGER] = ledger
        app[context.BUDGETS] = limits
        app[context.BURN] = burn
        app[context.LIBRARY] = stacks
        app[context.KEYS] = keys
        app[context.AUDIT] = audit
        app[context.HOST] = host
        app[context.WORKSPACES] = workspaces
        app[context.ROLLOUTS] = rollouts
        app[context.RUNTIME_PORT] = runtime_port
        app[webhook.HOOKS], app[webhook.WAITING] = hooks, waiting
        app[PLACES], app[WATCHES], app[TEMPLATES], app[files.FILES] = places, watches, environment, own_files
        return app

    app = fill(web.Application(middlewares=middleware.MIDDLEWARES, client_max_size=MAX_FORM_BYTES))
    hosts = fill(web.Application())
    _register(hosts, WORKSPACE)
    app.add_domain(f"*.ws.{site.authority}", hosts)
    _register(app, DASHBOARD)
    app.on_response_prepare.append(middleware.add_headers)
    app.on_startup.append(_open_upstream)
    app.on_shutdown.append(watches.close)
    app.on_cleanup.append(waiting.close)
    app.on_cleanup.append(_close_upstream)
    return app


def auth_app(
    *,
    site: Site,
    accounts: Accounts,
    sessions: Sessions,
    runtimes: Runtimes,
    board: Board,
    waker: Waker,
    activity: Activity,
    templates: Path = TEMPLATE_FOLDER,
) -> web.Application:
    """ForwardAuth. It must listen where nobody but Traefik can reach it."""
    app = web.Application(middlewares=(middleware.number_requests,))
    _shared(app, site=site, accounts=accounts, sessions=sessions, board=board, waker=waker, activity=activity)
    app[PLACES], app[TEMPLATES], app[files.FILES] = Places(runtimes), load_templates(templates), files.Files()
    _register(app, LOOPBACK)
    app.on_response_prepare.append(middleware.add_headers)
    return app


def _shared(
    app: web.Application,
    *,
    site: Site,
    accounts: Accounts,
    sessions: Sessions,
    board: Board,
    waker: Waker,
    activity: Activity,
) -> None:
    app[context.SITE] = site
    app[context.ACCOUNTS] = accounts
    app[context.SESSIONS] = sessions
    app[context.BOARD] = board
    app[context.WAKER] = waker
    app[context.ACTIVITY] = activity


def _register(app: web.Application, table: tuple[Route, ...]) -> None:
    for route in table:
        app.router.add_route(route.method, route.path, _guard(route))


def _guard(route: Route) -> Page:
    """The handler behind its access check, and the page again when the form was refused."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if route.access is not For.ANYBODY and USER not in request:
            raise NotSignedIn("You are not signed in, or your session has ended. Sign in again.")
        if route.access is For.ADMIN and not request[USER].role.administers:
            raise Forbidden("This page is for admins. Ask one of yours.")
        try:
            return await route.page(request)
        except (BadInput, NotSignedIn, TooManyAttempts) as refused:
            if route.again is None:
                raise
            request[REFUSED] = refused
            reply = await route.again(request)
            reply.set_status(status_of(refused))
            return reply

    return guarded


async def _open_upstream(app: web.Application) -> None:
    app[context.UPSTREAM] = runtime_session()


async def _close_upstream(app: web.Application) -> None:
    session: aiohttp.ClientSession = app[context.UPSTREAM]
    await session.close()
