"""Builds every object once and wires them; the only place that knows all floors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from clawloops import nudge
from clawloops.background import Background, alone, calm_collector
from clawloops.config import Settings
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.backends import Backends
from clawloops.control.connecting import BundledParts
from clawloops.control.handover import Handover
from clawloops.control.hooks import Hooks
from clawloops.control.invitations import Invitations
from clawloops.control.models import Models
from clawloops.control.rollouts import Rollouts
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.control.workspaces import Workspaces
from clawloops.errors import ClawLoopsError
from clawloops.gateway.resolve import upstream_session
from clawloops.ground import leadership, load_seal, open_audit, open_seal, secret, store
from clawloops.listening import open_door, serve_pages
from clawloops.modelside import model_side, services
from clawloops.orchestrator import admission, probe
from clawloops.orchestrator.admission import Gate
from clawloops.orchestrator.ask import Control, control_session
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.loop import Orchestrator
from clawloops.orchestrator.sleep import Rules
from clawloops.runtimes.client import Engine
from clawloops.store.chain import audit_key
from clawloops.store.db import Database
from clawloops.store.seal import check_sentinel
from clawloops.web.context import Site
from clawloops.web.routes import auth_app, dashboard_app

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 60


async def setup_links(db: Database, settings: Settings) -> Invitations:
    """Just enough of the services to make a set-up link from the command line."""
    audit = await open_audit(db, settings)
    return Invitations(db, Accounts(db, Sessions(db), audit), audit, origin=settings.origin)


@asynccontextmanager
async def model_services(settings: Settings) -> AsyncIterator[tuple[Models, Backends]]:
    """Just enough of the model side to change it from the command line. Raises SealBroken."""
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(store(settings))
        sealer = await open_seal(db, settings)
        audit = Audit(db, await audit_key(db, sealer))
        session = await stack.enter_async_context(upstream_session())
        made = services(db, sealer, session, audit=audit, bundled=_bundled(settings))
        await made.prices.load()
        await made.models.load()
        yield made.models, made.backends


async def serve(settings: Settings, *, board: Board | None = None) -> None:
    """Wait to be the only one on this data, then run every part until SIGTERM or SIGINT.

    `board`: what the loop writes its findings to, when somebody else reads along.
    Raises SetupError when start-up cannot go on.
    """
    stopping = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopping.set)
    async with AsyncExitStack() as stack:
        if not await _lead(settings, stack, stopping):
            log.info("stopped before this one could lead")
            return
        await _build(settings, stack, stopping, board or Board())
        calm_collector()
        log.info("ClawLoops is ready at %s", settings.origin)
        await stopping.wait()
        log.info("stopping; workspaces go on")


async def _lead(settings: Settings, stack: AsyncExitStack, stopping: asyncio.Event) -> bool:
    """Whether this process leads now; False when it was told to stop while it waited."""
    leading = asyncio.create_task(stack.enter_async_context(leadership(settings)))
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait({leading, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not leading.done():
        leading.cancel()
    try:
        await leading
    except asyncio.CancelledError:
        return False
    return True


async def _build(settings: Settings, stack: AsyncExitStack, stopping: asyncio.Event, board: Board) -> None:
    for folder in ("journal", "runtimes", "backups"):
        (settings.data / folder).mkdir(mode=0o755 if folder == "runtimes" else 0o700, parents=True, exist_ok=True)
    sealer = load_seal(settings)  # before the database: without its key, nothing of it is migrated
    db = await stack.enter_async_context(store(settings))
    await check_sentinel(db, sealer)
    audit, sessions = Audit(db, await audit_key(db, sealer)), Sessions(db)
    accounts = Accounts(db, sessions, audit)
    background = Background(stack)
    engine = Engine(settings.engine)
    # While a call is under way this process still leads: its end comes before the locks are given back.
    stack.push_async_callback(asyncio.to_thread, engine.close, wait=True)

    def wake_all() -> None:
        orchestrator.wake_all()

    side = await model_side(
        settings,
        stack,
        db,
        sealer,
        audit=audit,
        bundled=_bundled(settings),
        wake_all=wake_all,
        on_refused=lambda runtime, peer: background.keep(_note_refused(audit, runtime, peer)),
        background=background,
    )
    probing = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
    asking = await stack.enter_async_context(control_session())
    orchestrator = Orchestrator(
        db,
        engine,
        side.directory,
        install=settings.install,
        probe=probe.over(probing),
        control=Control(asking),
        rules=Rules(int(settings.pause_after_minutes * 60_000), int(settings.stop_after_minutes * 60_000)),
        gate=Gate(lambda: admission.look(settings.data), slots=settings.boots_at_once or admission.at_once()),
        board=board,
    )
    runtimes = Runtimes(db, audit, pool=settings.runtime_pool, wake=orchestrator.wake)
    workspaces = Workspaces(
        db,
        audit,
        runtimes,
        engine,
        install_id=settings.install_id,
        data=str(settings.data),
        wake=orchestrator.wake,
    )

    async def shut_out(user_id: str) -> None:
        side.keys.shut_out(user_id)
        runtime = await runtimes.of_owner(user_id)
        if runtime is not None:
            side.directory.drop_runtime(runtime.id)
        await runtimes.stop_for(user_id)

    accounts.on_disabled, accounts.on_enabled = shut_out, side.keys.let_in
    await accounts.load()
    await sessions.load()
    await side.load()

    def told() -> None:
        """The command line has changed something."""
        orchestrator.look()
        background.keep(side.models.changed())
        background.keep(accounts.reload())

    for_members, for_runtimes = side.doors(
        settings,
        background,
        settled=orchestrator.activity.settled,
        refused=orchestrator.activity.refused,
        in_use=orchestrator.activity.call,
        is_attended=orchestrator.activity.is_attended,
    )
    dashboard = dashboard_app(
        site=_site(settings),
        accounts=accounts,
        invitations=Invitations(db, accounts, audit, origin=settings.origin),
        sessions=sessions,
        handover=Handover(sessions),
        runtimes=runtimes,
        models=side.models,
        backends=side.backends,
        groups=side.groups,
        ledger=side.ledger,
        limits=side.budgets,
        burn=side.burn,
        stacks=side.library,
        keys=side.keys,
        audit=audit,
        board=orchestrator.board,
        waker=orchestrator,
        activity=orchestrator.activity,
        hooks=Hooks(db, audit, wake=orchestrator.wake),
        host=orchestrator,
        workspaces=workspaces,
        rollouts=Rollouts(db, audit, install=settings.install, look=orchestrator.look),
    )
    auth = auth_app(
        site=_site(settings),
        sessions=sessions,
        accounts=accounts,
        runtimes=runtimes,
        board=orchestrator.board,
        waker=orchestrator,
        activity=orchestrator.activity,
    )

    await orchestrator.start()
    stack.push_async_callback(orchestrator.stop)
    side.keep_up(background)
    background.keep(workspaces.run())
    background.keep(_sweep(sessions))
    background.keep(nudge.take(settings.data, told))
    background.keep(alone(stopping))
    await serve_pages(stack, dashboard, settings.listen)
    await serve_pages(stack, auth, settings.auth_listen)
    await open_door(stack, for_members, settings.models_listen)
    await open_door(stack, for_runtimes, f"0.0.0.0:{settings.gateway_port}")


async def _sweep(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        try:
            await sessions.sweep()
        except ClawLoopsError as error:
            log.error("sessions were not swept: %s", error)


async def _note_refused(audit: Audit, runtime_id: str, peer: str) -> None:
    with contextlib.suppress(ClawLoopsError):
        await audit.record(None, "model token refused", runtime_id, f"from {peer}")


def _bundled(settings: Settings) -> BundledParts:
    key = secret(settings.litellm_key_file) if settings.litellm_key_file else ""
    return BundledParts(ollama_url=settings.ollama_url, litellm_url=settings.litellm_url, litellm_key=key)


def _site(settings: Settings) -> Site:
    ca = settings.data / "tls" / "ca.crt"
    return Site(
        origin=settings.origin,
        base=settings.base,
        scheme=settings.scheme,
        port=settings.port,
        secure=settings.scheme == "https",
        ca_file=ca if ca.exists() else None,
        has_ollama=bool(settings.ollama_url),
        has_litellm=bool(settings.litellm_url),
        memory_mb=settings.runtime_memory_mb,
        cpus=settings.runtime_cpus,
    )
