"""Builds every object once and wires them; the only place that knows all floors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp

from clawloops import nudge
from clawloops.background import Background, alone, calm_collector
from clawloops.boxside import box_side
from clawloops.config import Settings
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.backups import Backups
from clawloops.control.connections import Connections
from clawloops.control.decoys import Decoys
from clawloops.control.first_run import FirstRun
from clawloops.control.hooks import Hooks
from clawloops.control.invitations import Invitations
from clawloops.control.logs import Logs
from clawloops.control.rollouts import Rollouts
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.control.workspaces import Workspaces
from clawloops.errors import ClawLoopsError
from clawloops.gateway.resolve import upstream_session
from clawloops.ground import bundled_parts, certificates_of, leadership, load_seal, open_audit, store
from clawloops.listening import open_door, serve_pages
from clawloops.log import keep
from clawloops.model.certificate import Tls
from clawloops.model.decoy import DecoyKeys
from clawloops.modelside import ModelSide, model_side
from clawloops.orchestrator import admission, probe
from clawloops.orchestrator.admission import Gate
from clawloops.orchestrator.ask import Control, control_session
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.canary import Watch
from clawloops.orchestrator.loop import Orchestrator
from clawloops.orchestrator.sleep import Rules
from clawloops.orchestrator.surroundings import Surroundings
from clawloops.orchestrator.walls import Walls
from clawloops.peopleside import PeopleSide, people_side
from clawloops.runtimes.client import Engine
from clawloops.runtimes.logs import reader
from clawloops.store.db import Database
from clawloops.store.own_keys import audit_key, decoy_key, link_key
from clawloops.store.seal import check_sentinel
from clawloops.web.apps import auth_door, dashboard_app
from clawloops.web.context import Site
from clawloops.web.visit import Doorkeeper

log = logging.getLogger(__name__)


async def setup_links(db: Database, settings: Settings) -> Invitations:
    """Just enough of the services to make a set-up link from the command line."""
    audit = await open_audit(db, settings)
    return Invitations(db, Accounts(db, Sessions(db), audit), audit, origin=settings.origin)


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
        stack.callback(keep(settings.data / "log").close)
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
    audit = Audit(db, await audit_key(db, sealer))
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
        bundled=bundled_parts(settings),
        wake_all=wake_all,
        on_refused=lambda runtime, peer: background.keep(_note_refused(audit, runtime, peer)),
        background=background,
    )
    outward = await stack.enter_async_context(upstream_session())
    people = people_side(
        settings,
        db,
        sealer,
        audit=audit,
        keys=side.keys,
        groups=side.groups,
        outward=outward,
        link_key=await link_key(db, sealer),
    )
    probing = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
    asking = await stack.enter_async_context(control_session())
    decoy_keys = DecoyKeys(await decoy_key(db, sealer))
    walls = Walls(lambda *entry: background.keep(_note_walls(audit, *entry)))
    orchestrator = Orchestrator(
        db,
        engine,
        side.directory,
        install=settings.install,
        probe=probe.over(probing),
        control=Control(asking),
        rules=Rules(int(settings.pause_after_minutes * 60_000), int(settings.stop_after_minutes * 60_000)),
        gate=Gate(lambda: admission.look(settings.data), slots=settings.boots_at_once or admission.at_once()),
        decoys=decoy_keys,
        sealer=sealer,
        board=board,
        walls=walls,
    )
    decoys = Decoys(
        db, audit, decoy_keys, keep=background.keep, hold=walls.hold, let_go=walls.let_go, wake=orchestrator.wake
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
    people.invitations.on_grouped = side.models.changed
    people.accounts.on_disabled, people.accounts.on_enabled = _shut_out(side, people, runtimes), side.keys.let_in
    first_run = FirstRun(
        db,
        audit,
        accounts=people.accounts,
        factors=people.factors,
        models=side.models,
        invitations=people.invitations,
        ledger=side.ledger,
    )
    for each in (people, side, decoys, first_run):
        await each.load()
    stack.push_async_callback(decoys.close)

    def told() -> None:
        """The command line has changed something."""
        orchestrator.look()
        background.keep(side.models.changed())
        background.keep(side.budgets.load())
        people.look(background)

    site, connections = _site(settings), Connections(db, sealer, audit, wake=orchestrator.wake)
    around = Surroundings(install=settings.install, pool=settings.runtime_pool, hosts=settings.own_addresses)
    watch = Watch(db, engine, walls, around, wake_all=wake_all)
    backups = Backups(db, audit, settings.data / "backups")
    box = box_side(
        settings, engine, audit, runtimes, backups, watch=watch, board=orchestrator.board, background=background
    )
    doorkeeper = Doorkeeper(
        site=site,
        accounts=people.accounts,
        sessions=people.sessions,
        inspections=people.inspections,
        runtimes=runtimes,
        board=orchestrator.board,
        waker=orchestrator,
        activity=orchestrator.activity,
    )
    dashboard = dashboard_app(
        doorkeeper=doorkeeper,
        site=site,
        accounts=people.accounts,
        invitations=people.invitations,
        sessions=people.sessions,
        factors=people.factors,
        passkeys=people.passkeys,
        resets=people.resets,
        mailing=people.mailing,
        issuers=people.issuers,
        arrivals=people.arrivals,
        handover=people.handover,
        inspections=people.inspections,
        runtimes=runtimes,
        models=side.models,
        backends=side.backends,
        groups=side.groups,
        ledger=side.ledger,
        reports=side.reports,
        limits=side.budgets,
        burn=side.burn,
        decoys=decoys,
        egress=side.egress,
        stacks=side.library,
        keys=side.keys,
        tokens=people.tokens,
        first_run=first_run,
        trials=side.trials,
        audit=audit,
        board=orchestrator.board,
        waker=orchestrator,
        activity=orchestrator.activity,
        hooks=Hooks(db, audit, wake=orchestrator.wake),
        connections=connections,
        host=orchestrator,
        workspaces=workspaces,
        logs=Logs(
            people.inspections,
            reader(engine, settings.install_id),
            data=str(settings.data),
            secrets_of=connections.values_of,
        ),
        rollouts=Rollouts(db, audit, install=settings.install, look=orchestrator.look),
        certificates=certificates_of(settings),
        gauges=box.gauges,
        upkeep=box.upkeep,
        backups=backups,
    )

    await orchestrator.start()
    stack.push_async_callback(orchestrator.stop)
    side.keep_up(background)
    people.keep_up(background)
    for work in (
        workspaces.run(),
        decoys.run(),
        nudge.take(settings.data, told),
        box.gauges.run(),
        backups.run(),
        alone(stopping),
    ):
        background.keep(work)
    await serve_pages(stack, dashboard, settings.listen)
    await open_door(stack, auth_door(doorkeeper), settings.auth_listen)
    await side.open_doors(
        stack,
        settings,
        background,
        settled=orchestrator.activity.settled,
        refused=orchestrator.activity.refused,
        in_use=orchestrator.activity.call,
        is_attended=orchestrator.activity.is_attended,
        spot=decoys.spot,
    )
    background.keep(watch.run())  # its control is the gateway's door


def _shut_out(side: ModelSide, people: PeopleSide, runtimes: Runtimes) -> Callable[[str], Awaitable[None]]:
    """Ends all that a member has going: keys, tokens, and the workspace."""

    async def shut_out(user_id: str) -> None:
        side.keys.shut_out(user_id)
        await people.tokens.end_all_of(user_id)
        runtime = await runtimes.of_owner(user_id)
        if runtime is not None:
            side.directory.drop_runtime(runtime.id)
        await runtimes.stop_for(user_id)

    return shut_out


async def _note_refused(audit: Audit, runtime_id: str, peer: str) -> None:
    with contextlib.suppress(ClawLoopsError):
        await audit.record(None, "model token refused", runtime_id, f"from {peer}")


async def _note_walls(audit: Audit, action: str, runtime_id: str, detail: str) -> None:
    with contextlib.suppress(ClawLoopsError):
        await audit.record(None, action, runtime_id or "all workspaces", detail)


def _site(settings: Settings) -> Site:
    return Site(
        origin=settings.origin,
        base=settings.base,
        scheme=settings.scheme,
        port=settings.port,
        secure=settings.scheme == "https",
        ca_file=settings.data / "tls" / "ca.crt" if settings.tls is Tls.OWN else None,
        has_ollama=bool(settings.ollama_url),
        has_litellm=bool(settings.litellm_url),
        memory_mb=settings.runtime_memory_mb,
        cpus=settings.runtime_cpus,
        sandbox=settings.sandbox,
    )
