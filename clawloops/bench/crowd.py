"""Many light runtimes at once: a pass over all of them, memory, restarts of control plane and Traefik, and idling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import aiohttp

from clawloops.bench.report import Figure, spread
from clawloops.bench.served import Served, serving
from clawloops.bench.stage import Stage
from clawloops.bench.visitor import Browser, Member, members, settle, wish
from clawloops.model.runtime import Phase, Want

FEW = 20
PASSES = 7
RESTARTS = 3
SETTLE_S = 5
_STARTS = {"boots_at_once": 32, "runtime_memory_mb": 64, "runtime_cpus": 1}  # they are light: no start has to wait


@dataclass(frozen=True, slots=True)
class Mark:
    """The moment before the restarts."""

    starts: dict[str, str]
    stopping: float  # when the control plane was told to end; seconds of the monotonic clock


async def crowd(stage: Stage, http: aiohttp.ClientSession, image: str, *, many: int, idle_s: float) -> list[Figure]:
    few = min(FEW, many)
    await settle(stage)
    crew = await members(stage, few, Want.RUNNING)
    environment = stage.settings(image=image, **_STARTS)
    async with serving(stage, environment, http) as served:
        await served.all_show(_ids(crew), Phase.READY, seconds=300)
        await asyncio.sleep(SETTLE_S)
        figures = [await _idle(served, few, idle_s)]
    rest = await members(stage, many - few, Want.STOPPED)
    await wish(stage, rest, Want.RUNNING)
    crew += rest
    began = time.monotonic()
    async with serving(stage, environment, http) as served:
        until = await served.all_show(_ids(crew), Phase.READY, seconds=600)
        figures.append(Figure(name=f"{many - few} more, from nothing to ready", value=until - began, unit="s"))
        await asyncio.sleep(SETTLE_S)
        figures += await _passes(stage, served, crew)
        figures.append(
            Figure(name=f"memory of the control plane, {many} runtimes", value=served.memory_mb(), unit="MB", gate=150)
        )
        figures.append(Figure(name="the same, at its highest", value=served.memory_mb("VmHWM"), unit="MB"))
        if stage.traefik:
            figures.append(await _front_restarts(stage, Browser.on(stage, http), crew[-1]))
        before = await asyncio.to_thread(_starts, stage)
        stopping = time.monotonic()
    return figures + await _restarts(stage, http, image, crew, Mark(before, stopping))


async def _idle(served: Served, few: int, seconds: float) -> Figure:
    before, began = served.cpu_s(), time.monotonic()
    await asyncio.sleep(seconds)
    share = 100 * (served.cpu_s() - before) / (time.monotonic() - began)
    return Figure(
        name=f"idle control plane, {few} runtimes", value=share, unit="% of a core", gate=1,
        spread=f"over {seconds:.0f} s",
    )  # fmt: skip


async def _passes(stage: Stage, served: Served, crew: Sequence[Member]) -> list[Figure]:
    """From a deed in Docker that concerns all of them, until each was looked at anew."""
    nudge = await asyncio.to_thread(stage.nudge)
    took: list[float] = []
    cpu: list[float] = []
    for _ in range(PASSES):
        await asyncio.sleep(1)
        began, used = time.monotonic(), served.cpu_s()
        await asyncio.to_thread(nudge)
        took.append(await served.all_looked(_ids(crew), since=began) - began)
        await asyncio.sleep(0.2)
        cpu.append(served.cpu_s() - used)
    return [
        Figure(name=f"full pass over {len(crew)} runtimes", value=median(took), unit="s", gate=2, spread=spread(took)),
        Figure(name="CPU time of a full pass", value=median(cpu), unit="s", spread=spread(cpu)),
    ]


async def _front_restarts(stage: Stage, browser: Browser, member: Member) -> Figure:
    """Traefik asks Docker for every route again; until a member is let in."""
    await browser.let_in(member)
    took: list[float] = []
    for _ in range(RESTARTS):
        began = time.monotonic()
        await asyncio.to_thread(stage.restart_traefik)
        took.append(await browser.let_in(member, seconds=30) - began)
        await asyncio.sleep(SETTLE_S)
    return Figure(name="restart of Traefik until a member is let in", value=median(took), unit="s", gate=3,
                  spread=spread(took))  # fmt: skip


async def _restarts(
    stage: Stage, http: aiohttp.ClientSession, image: str, crew: Sequence[Member], mark: Mark
) -> list[Figure]:
    """From SIGTERM to the old one until the new one answers, a member is let in, and its board shows all ready."""
    before, stopping = mark.starts, mark.stopping
    answered: list[float] = []
    entered: list[float] = []
    shown: list[float] = []
    browser = Browser.on(stage, http)
    for _ in range(RESTARTS):
        async with serving(stage, stage.settings(image=image, **_STARTS), http) as served:
            answered.append(time.monotonic() - stopping)
            entered.append(await browser.let_in(crew[-1]) - stopping)
            shown.append(await served.all_show(_ids(crew), Phase.READY, seconds=60) - stopping)
            await asyncio.sleep(SETTLE_S)
            stopping = time.monotonic()
    after = await asyncio.to_thread(_starts, stage)
    disturbed = sum(1 for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [
        Figure(name="restart until it serves again", value=median(answered), unit="s", gate=3, spread=spread(answered)),
        Figure(name="restart until a member is let in", value=median(entered), unit="s", gate=3,
               spread=spread(entered)),
        Figure(name=f"restart until the board shows all {len(crew)}", value=median(shown), unit="s", gate=3,
               spread=spread(shown)),
        Figure(name="runtimes disturbed by the restarts", value=disturbed, unit="", gate=0),
    ]  # fmt: skip


def _starts(stage: Stage) -> dict[str, str]:
    """Which container each runtime has, and when that was started."""
    return {name: f"{row['Id']} {row['State']['StartedAt']}" for name, row in stage.runtimes().items()}


def _ids(crew: Sequence[Member]) -> list[str]:
    return [each.runtime_id for each in crew]
