"""One member's OpenClaw: opened, woken from a pause, from swap and from a stop, beside a bare container."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from statistics import median

import aiohttp

from clawloops.bench.bare import Bare, answers
from clawloops.bench.report import Figure, percentile, spread
from clawloops.bench.served import Served, serving
from clawloops.bench.stage import Stage
from clawloops.bench.visitor import Browser, Member, asleep, members
from clawloops.errors import SetupError
from clawloops.model.runtime import Phase, Sleep, Want
from clawloops.orchestrator import probe
from clawloops.orchestrator.keeper import SQUEEZE_AFTER_MS, SQUEEZED_BYTES

SOON = 1 / 60  # minutes without use after which it sleeps, so that it sleeps by the rules and not by a trick
NEVER = 10**6
SWAP_MB = 6144
_BUSY_S = 150  # OpenClaw may say once that it is busy, and is then asked again after a minute


async def boots(stage: Stage, http: aiohttp.ClientSession, image: str, *, rounds: int) -> list[Figure]:
    """First opening, then waking from a stop, each in turns with a bare container."""
    ready = probe.over(http)
    peers = [Bare(stage, image, ready) for _ in range(rounds)]
    visitors = await members(stage, rounds, Want.STOPPED)
    opened: list[Boot] = []
    woken: list[Boot] = []
    first: list[float] = []
    again: list[float] = []
    async with serving(stage, stage.settings(image=image, pause_after_minutes=NEVER), http) as served:
        desk = Desk(stage, served, Browser.on(stage, http), ready)
        await served.tested()
        for turn, (member, peer) in enumerate(zip(visitors, peers, strict=True)):
            await peer.prepare()
            for ours in _order(turn):
                if ours:
                    opened.append(await desk.boots(member, desk.browser.press(member, "open")))
                    await desk.stops(member)
                else:
                    first.append(await peer.run())
                    await peer.stop()
    await asleep(stage, visitors, Sleep.STOPPED)
    async with serving(stage, stage.settings(image=image, pause_after_minutes=NEVER), http) as served:
        desk = Desk(stage, served, Browser.on(stage, http), ready)
        await served.tested()
        for turn, (member, peer) in enumerate(zip(visitors, peers, strict=True)):
            await served.shows(member.runtime_id, Phase.ASLEEP, since=0)
            for ours in _order(turn):
                if ours:
                    woken.append(await desk.boots(member, desk.browser.visit(member)))
                    await desk.stops(member)
                else:
                    again.append(await peer.start())
                    await peer.stop()
    return [
        *_compared("open → ready / bare docker run", opened, first, gate=1.10),
        *_compared("wake from stop / bare boot", woken, again, gate=1.15),
    ]


async def wakes(
    stage: Stage, http: aiohttp.ClientSession, image: str, *, count: int, runtimes: int, swap: bool
) -> list[Figure]:
    """A visit to a paused workspace, until the first byte of OpenClaw's page. They sleep by the rules in between."""
    visitors = await members(stage, runtimes, Want.RUNNING)
    async with serving(stage, stage.settings(image=image, pause_after_minutes=NEVER), http) as served:
        for each in visitors:
            await served.shows(each.runtime_id, Phase.READY, since=0, seconds=runtimes * 60 + 60)
            await Browser.on(stage, http).let_in(each)
    await asleep(stage, visitors, Sleep.PAUSED)
    environment = stage.settings(image=image, pause_after_minutes=SOON, stop_after_minutes=NEVER)
    async with serving(stage, environment, http) as served:
        browser = Browser.on(stage, http)
        resident = [await _wake(served, browser, visitors[number % runtimes]) for number in range(count)]
        awake = [await _visit(browser, each) for each in visitors for _ in range(5)]
        way = "through Traefik" if stage.traefik else "ForwardAuth, then the runtime"
        figures = [
            Figure(name=f"wake from pause, p50 ({way})", value=median(resident), unit="ms", gate=150,
                   spread=spread(resident)),
            Figure(name="wake from pause, p99", value=percentile(resident, 99), unit="ms", gate=500),
            Figure(name="the same page of one that is awake, p50", value=median(awake), unit="ms",
                   spread=spread(awake)),
        ]  # fmt: skip
        if swap:
            figures += await _from_swap(stage, served, browser, visitors)
    return figures


@dataclass(frozen=True, slots=True)
class Boot:
    """Seconds."""

    took: float  # from the member's deed until the board shows it ready
    ours: float  # of that, before the container's start and after its first answer


class Desk:
    """Where openings and wakes are timed."""

    def __init__(self, stage: Stage, served: Served, browser: Browser, ready: probe.Probe) -> None:
        self.browser = browser
        self._stage = stage
        self._served = served
        self._ready = ready

    async def boots(self, member: Member, deed: Awaitable[object]) -> Boot:
        """From a deed of the member's until it is ready."""
        began, at = time.monotonic(), time.time()
        answering = asyncio.create_task(answers(self._ready, member.address))
        try:
            await deed
            shown = await self._served.shows(member.runtime_id, Phase.READY, since=began)
            answered = await answering
        finally:
            answering.cancel()
        started = await asyncio.to_thread(self._stage.started_at, member.runtime_id)
        return Boot(took=shown - began, ours=max(0.0, started - at) + max(0.0, shown - answered))

    async def stops(self, member: Member) -> None:
        """Stopped by its button."""
        since = time.monotonic()
        await self.browser.press(member, "stop")
        await self._served.shows(member.runtime_id, Phase.STOPPED, since=since)


async def _wake(served: Served, browser: Browser, member: Member) -> float:
    _, since = served.phases.get(member.runtime_id, (None, 0.0))
    await served.shows(member.runtime_id, Phase.PAUSED, since=since, seconds=_BUSY_S)
    await asyncio.sleep(0.3)  # nothing of the pause itself is still under way
    return await _visit(browser, member)


async def _visit(browser: Browser, member: Member) -> float:
    """Milliseconds, of all tries together when the first one is not let in."""
    began, tried = time.monotonic(), 0.0
    while True:
        took, why = await browser.visit(member)
        if not why:
            return (tried + took) * 1000
        if not tried:
            print(f"  a visit to {member.host} was not let in at once: {why}", file=sys.stderr)
        if time.monotonic() - began > _BUSY_S:
            raise SetupError(f"nobody is let in to {member.host}: {why}")
        await asyncio.sleep(0.02)
        tried = time.monotonic() - began


async def _from_swap(stage: Stage, served: Served, browser: Browser, visitors: Sequence[Member]) -> list[Figure]:
    if why := await stage.swap_on(SWAP_MB):
        print(f"  no wake from swap is measured: {why}", file=sys.stderr)
        return []
    for each in visitors:
        await served.shows(each.runtime_id, Phase.PAUSED, since=0, seconds=_BUSY_S)

    def pushed_out() -> bool:
        rows = stage.runtimes().values()
        return all(row["HostConfig"]["Memory"] == SQUEEZED_BYTES for row in rows if row["State"]["Paused"])

    await served.until(
        "the memory of the paused ones is in swap", pushed_out, seconds=SQUEEZE_AFTER_MS / 1000 + 120, every_s=2
    )
    await asyncio.sleep(2)
    swapped = [await _visit(browser, each) for each in visitors]
    return [
        Figure(name="wake from pause, pushed out to swap, p50", value=median(swapped), unit="ms",
               spread=spread(swapped)),
        Figure(name="wake from pause, pushed out to swap, slowest", value=max(swapped), unit="ms"),
    ]  # fmt: skip


def _order(turn: int) -> tuple[bool, bool]:
    """Whether we go first, then second: each goes first as often as the other."""
    return (True, False) if turn % 2 == 0 else (False, True)


def _compared(name: str, ours: Sequence[Boot], peer: Sequence[float], *, gate: float) -> list[Figure]:
    rounds = ", ".join(f"{mine.took:.1f}/{its:.1f}" for mine, its in zip(ours, peer, strict=True))
    ratios = [mine.took / its for mine, its in zip(ours, peer, strict=True)]
    own = [each.ours for each in ours]
    return [
        Figure(name=name, value=median(ratios), unit="x", gate=gate, spread=f"{spread(ratios)}; seconds: {rounds}"),
        Figure(name="  of it, what the control plane adds", value=median(own), unit="s", spread=spread(own)),
    ]
