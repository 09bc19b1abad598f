"""`clawloops bench lifecycle`: how fast workspaces open and wake, and what a hundred of them cost the control plane.

Needs root, the real Docker Engine and the image of OpenClaw; it sweeps up whatever it makes there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Sequence

import docker

from clawloops.bench import report
from clawloops.bench.crowd import crowd
from clawloops.bench.report import Figure
from clawloops.bench.stage import Stage, newest, standin
from clawloops.bench.workspace import boots, wakes
from clawloops.errors import SetupError

PARTS = ("boots", "wakes", "crowd")


def main(arguments: Sequence[str]) -> int:
    """0 when every gate holds, 1 when one does not. Raises SetupError when it cannot be measured."""
    parser = argparse.ArgumentParser(prog="clawloops bench lifecycle", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and runtimes: under three minutes")
    parser.add_argument("--json", action="store_true", help="a list for programs")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be given again")
    parser.add_argument("--image", default="", help="OpenClaw's image; the newest clawloops/openclaw when left out")
    parser.add_argument("--standin", default="", help="light image for the crowd; made from OpenClaw's when left out")
    parser.add_argument("--traefik", default="", help="Traefik's image; the newest clawloops/traefik when left out")
    parser.add_argument("--runtimes", type=int, default=0, help="size of the crowd")
    parser.add_argument("--idle", type=float, default=0, metavar="SECONDS", help="how long idling is watched")
    parser.add_argument("--rounds", type=int, default=0, help="of boots, in turns with the bare container")
    chosen = parser.parse_args(arguments)
    if os.geteuid() != 0:
        raise SetupError("the benchmark makes networks and looks into their namespaces: run it as root")
    figures = asyncio.run(_measure(chosen))
    print(report.as_json(figures) if chosen.json else report.table(figures))
    return 0 if report.holds(figures) else 1


async def _measure(chosen: argparse.Namespace) -> list[Figure]:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _current().cancel)
    with contextlib.closing(docker.DockerClient()) as client:
        image = chosen.image or newest(client, "clawloops/openclaw")
        if not image:
            raise SetupError("there is no image of OpenClaw; `./install.sh images` makes it, or name one by --image")
        stage = Stage(client, traefik=chosen.traefik or newest(client, "clawloops/traefik"))
        _say(_machine(client, image, stage.traefik))
        try:
            await stage.open(image)
            return await _parts(stage, image, chosen)
        finally:
            _say("sweeping up")
            await asyncio.shield(asyncio.ensure_future(stage.close()))


async def _parts(stage: Stage, image: str, chosen: argparse.Namespace) -> list[Figure]:
    quick, only = chosen.quick, chosen.only or PARTS
    figures: list[Figure] = []
    async with stage.client() as http:
        if "boots" in only:
            figures += await _timed("boots", boots(stage, http, image, rounds=chosen.rounds or (1 if quick else 4)))
        if "wakes" in only:
            work = wakes(stage, http, image, count=10 if quick else 32, runtimes=1 if quick else 4, swap=not quick)
            figures += await _timed("wakes", work)
        if "crowd" in only:
            light = chosen.standin or await asyncio.to_thread(standin, stage.docker, image)
            many, idle_s = chosen.runtimes or (30 if quick else 100), chosen.idle or (20 if quick else 60)
            figures += await _timed("crowd", crowd(stage, http, light, many=many, idle_s=idle_s))
    return figures


async def _timed(name: str, work: Awaitable[list[Figure]]) -> list[Figure]:
    began = time.monotonic()
    _say(f"{name} …")
    figures = await work
    _say(f"{name}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    return figures


def _machine(client: docker.DockerClient, image: str, traefik: str) -> str:
    told = client.info()
    return (
        f"{told['NCPU']} cores, {told['MemTotal'] // 2**20} MiB, Docker Engine {told['ServerVersion']}, "
        f"cgroup v{told.get('CgroupVersion', '1')}, {told['ContainersRunning']} containers running, "
        f"load {os.getloadavg()[0]:.1f}\nOpenClaw: {image}; in front: {traefik or 'nothing'}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _current() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise SetupError("this is not called inside a task")
    return task
