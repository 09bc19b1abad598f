"""One member's OpenClaw: opened, woken from a pause, from swap and from a stop, beside a bare container."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

import aiohttp

from clawloops.bench.bare import Bare
from clawloops.bench.report import Figure, percentile, spread
from clawloops.bench.served import Served, serving
from clawloops.bench.stage import Stage
from clawloops.bench.visitor import Browser, Member, members
from clawloops.errors import SetupError
from clawloops.model.runtime import Phase, Want
from clawloops.orchestrator import probe
from clawloops.orchestrator.keeper import SQUEEZE_AFTER_MS, SQUEEZED_BYTES

SOON = 1 / 60  # minutes without use after which it sleeps, so that it sleeps by the rules and not by a trick
NEVER = 10**6
SWAP_MB = 6144
_BUSY_S = 150  # OpenClaw may say once that it is busy, and is then asked again after a minute


async def boots(stage: Stage, http: aiohttp.ClientSession, image: str, *, rounds: int) -> list[Figure]:
    """First opening, and waking from a stop, in turns with the bare container."""
    ready = probe.over(http)
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []

    async def by_docker() -> None:
        peer = Bare(stage, image, ready)
        await peer.prepare()
        first = await peer.run()
        await peer.stop()
        bare.append((first, await peer.start()))
        await peer.remove()

    visitors = await members(stage, rounds, Want.STOPPED)
    environment = stage.settings(image=image, pause_after_minutes=SOON, stop_after_minutes=SOON)
    async with serving(stage, environment, http) as served:
        browser = Browser(http, stage.front_address if stage.traefik else "")

        async def by_us(member: Member) -> None:
            ours.append(await _open_and_wake(served, browser, member))

        for number, member in enumerate(visitors):
            for turn in _in_turns(number, lambda member=member: by_us(member), by_docker):  # type: ignore[misc]
                await turn()
    return [
        _ratio("open → ready / bare docker run", [each[0] for each in ours], [each[0] for each in bare], gate=1.10),
        _ratio("wake from stop / bare boot", [each[1] for each in ours], [each[1] for each in bare], gate=1.15),
    ]


async def wakes(
    stage: Stage, http: aiohttp.ClientSession, image: str, *, count: int, runtimes: int, swap: bool
) -> list[Figure]:
    """A visit to a paused workspace, until the first byte of OpenClaw's page. They sleep by the rules in between."""
    visitors = await members(stage, runtimes, Want.RUNNING)
    environment = stage.settings(image=image, pause_after_minutes=SOON, stop_after_minutes=NEVER)
    async with serving(stage, environment, http) as served:
        browser = Browser(http, stage.front_address if stage.traefik else "")
        for each in visitors:
            await served.shows(each.runtime_id, Phase.PAUSED, since=0, seconds=runtimes * 60 + _BUSY_S)
            await _let_in(browser, each)
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


async def _open_and_wake(served: Served, browser: Browser, member: Member) -> tuple[float, float]:
    """Seconds to open it for the first time, and to wake it once it was stopped because nobody used it."""
    began = time.monotonic()
    await browser.press(member, "open")
    opened = await served.shows(member.runtime_id, Phase.READY, since=began)
    await served.shows(member.runtime_id, Phase.ASLEEP, since=opened, seconds=_BUSY_S)
    waking = time.monotonic()
    await browser.visit(member)  # sees the waking page
    woken = await served.shows(member.runtime_id, Phase.READY, since=waking)
    await browser.press(member, "stop")
    await served.shows(member.runtime_id, Phase.STOPPED, since=woken)
    return opened - began, woken - waking


async def _wake(served: Served, browser: Browser, member: Member) -> float:
    since = served.phases[member.runtime_id][1]
    await served.shows(member.runtime_id, Phase.PAUSED, since=since, seconds=_BUSY_S)
    await asyncio.sleep(0.3)  # nothing of the pause itself is still under way
    return await _visit(browser, member)


async def _visit(browser: Browser, member: Member) -> float:
    """Milliseconds."""
    took, let_in = await browser.visit(member)
    if not let_in:
        raise SetupError(f"a visit to {member.host} was not let in, and it was awake or paused")
    return took * 1000


async def _let_in(browser: Browser, member: Member) -> None:
    """Traefik reads labels every two seconds or so."""
    for _ in range(100):
        with contextlib.suppress(aiohttp.ClientError):
            if (await browser.visit(member))[1]:
                return
        await asyncio.sleep(0.1)
    raise SetupError(f"nobody is let in to {member.host}")


async def _from_swap(stage: Stage, served: Served, browser: Browser, visitors: Sequence[Member]) -> list[Figure]:
    if why := await stage.swap_on(SWAP_MB):
        print(f"  no wake from swap is measured: {why}")
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


def _in_turns(number: int, *turns: Callable[[], Awaitable[None]]) -> Sequence[Callable[[], Awaitable[None]]]:
    """Each goes first as often as the other."""
    return turns if number % 2 == 0 else turns[::-1]


def _ratio(name: str, ours: Sequence[float], peer: Sequence[float], *, gate: float) -> Figure:
    rounds = ", ".join(f"{mine:.1f}/{its:.1f}" for mine, its in zip(ours, peer, strict=True))
    return Figure(
        name=name, value=median(ours) / median(peer), unit="x", gate=gate,
        spread=f"{median(ours):.2f} s / {median(peer):.2f} s; rounds {rounds}",
    )  # fmt: skip
