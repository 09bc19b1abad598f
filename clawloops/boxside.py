"""Wiring of what looks after the box itself: its gauges, what is found wrong with it, and the remedies for that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from clawloops import doctor, support
from clawloops.background import Background
from clawloops.config import Settings
from clawloops.control.audit import Audit
from clawloops.control.backups import Backups
from clawloops.control.runtimes import Runtimes
from clawloops.control.upkeep import Upkeep
from clawloops.errors import ClawLoopsError, Unavailable
from clawloops.model.account import User
from clawloops.model.checkup import Finding, Remedy
from clawloops.model.runtime import Phase, Want
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.canary import Watch
from clawloops.orchestrator.gauges import Gauges
from clawloops.runtimes import images, networks, parts
from clawloops.runtimes.client import Engine

SETTLES_S = 30.0  # how long a part that was started anew is given to answer
STARTS_S = 90.0  # how long workspaces are
_EVERY_S = 1.0

Remedies = Mapping[Remedy, Callable[[User], Awaitable[None]]]


@dataclass(frozen=True, slots=True)
class BoxSide:
    gauges: Gauges
    upkeep: Upkeep


def box_side(
    settings: Settings,
    engine: Engine,
    audit: Audit,
    runtimes: Runtimes,
    backups: Backups,
    *,
    watch: Watch,
    board: Board,
    background: Background,
) -> BoxSide:
    async def examine(only: str) -> Sequence[Finding]:
        return [each async for each in doctor.look(settings, only)]

    gauges = Gauges(data=settings.data, measure=partial(parts.measure, engine, settings.install_id))
    upkeep = Upkeep(
        audit,
        examine=examine,
        remedies=remedies(settings, engine, runtimes, backups, remake_canary=watch.remake, board=board),
        bundle=lambda: support.bundle(settings, views=board.all()),
        keep=background.keep,
    )
    return BoxSide(gauges, upkeep)


def remedies(
    settings: Settings,
    engine: Engine,
    runtimes: Runtimes,
    backups: Backups,
    *,
    remake_canary: Callable[[], Awaitable[None]],
    board: Board,
) -> Remedies:
    """What each remedy does. Raises ClawLoopsError or OSError, whose text says what was in the way."""

    def restart(part: str, found: str) -> Callable[[User], Awaitable[None]]:
        async def work(_: User) -> None:
            await parts.restart(engine, settings.install_id, part)
            await _settled(settings, found)

        return work

    async def start_parts(_: User) -> None:
        for part in parts.RESTARTED & set(await parts.down(engine, settings.install_id)):
            await parts.restart(engine, settings.install_id, part)

    async def remake_networks(by: User) -> None:
        mended = [each async for each in doctor.wrong_networks(settings) if each[1].ours]
        for runtime, network in mended:
            if runtime.want is not Want.RUNNING:
                await networks.remove(engine, network)  # made anew with its next start
            else:
                await runtimes.wish(runtime.id, Want.RUNNING, by=by)  # its keeper makes it anew
        if mended:
            await _settled(settings, "networks of workspaces")

    async def start_workspaces(by: User) -> None:
        wanted = await doctor.stuck(settings)
        for runtime in wanted:
            await runtimes.wish(runtime.id, Want.RUNNING, by=by)
        until = asyncio.get_running_loop().time() + STARTS_S
        while late := [each.slug for each in wanted if board.get(each.id).phase is not Phase.READY]:
            if asyncio.get_running_loop().time() > until:
                raise Unavailable(f"{', '.join(late)} did not start; its page says why")
            await asyncio.sleep(_EVERY_S)

    async def remove_images(_: User) -> None:
        for tag in await doctor.unused_images(settings):
            await images.remove(engine, tag)

    async def make_backup(by: User) -> None:
        await backups.make(by=by)

    return {
        Remedy.START_PARTS: start_parts,
        Remedy.RESTART_OLLAMA: restart("ollama", "Ollama"),
        Remedy.RESTART_LITELLM: restart("litellm", "LiteLLM"),
        Remedy.RESTART_TRAEFIK: restart("traefik", "certificate"),
        Remedy.RESTART_CERTIFICATES: restart("certificates", "certificate"),
        Remedy.REMAKE_CANARY: lambda _: remake_canary(),
        Remedy.REMAKE_NETWORKS: remake_networks,
        Remedy.START_WORKSPACES: start_workspaces,
        Remedy.REMOVE_IMAGES: remove_images,
        Remedy.MAKE_BACKUP: make_backup,
    }


async def _settled(settings: Settings, part: str) -> None:
    """Until nothing is found about a part any more, or it has had its time."""
    until = asyncio.get_running_loop().time() + SETTLES_S
    while asyncio.get_running_loop().time() < until:
        try:
            if not any([each.why async for each in doctor.look(settings, part)]):
                return
        except ClawLoopsError:
            pass  # asked again
        await asyncio.sleep(_EVERY_S)
