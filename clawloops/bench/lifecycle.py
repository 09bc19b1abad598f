"""`clawloops bench lifecycle`: how fast workspaces open and wake, and what a hundred of them cost the control plane.

Needs root, the real Docker Engine and the image of OpenClaw; it sweeps up whatever it makes there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import docker
import docker.errors

from clawloops.bench import report
from clawloops.bench.crowd import crowd
from clawloops.bench.report import Figure
from clawloops.bench.stage import Stage, newest, run
from clawloops.bench.workspace import boots, wakes
from clawloops.errors import SetupError

PARTS = ("boots", "wakes", "crowd")


@dataclass(frozen=True, slots=True)
class Sizes:
    rounds: int  # of boots, in turns with the bare container
    wakes: int
    sleepers: int  # runtimes that are paused and woken in turn
    runtimes: int  # of the crowd
    idle_s: float
    swap: bool


FULL = Sizes(rounds=3, wakes=32, sleepers=4, runtimes=100, idle_s=60, swap=True)
QUICK = Sizes(rounds=1, wakes=10, sleepers=1, runtimes=30, idle_s=20, swap=False)


def main(arguments: Sequence[str]) -> int:
    """0 when every gate holds, 1 when one does not. Raises SetupError when it cannot be measured."""
    parser = argparse.ArgumentParser(prog="clawloops bench lifecycle", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and runtimes: under three minutes")
    parser.add_argument("--json", action="store_true", help="a list for programs")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be given again")
    parser.add_argument("--image", default="", help="OpenClaw's image; the newest clawloops/openclaw when left out")
    parser.add_argument("--standin", default="", help="light image for the crowd; made from OpenClaw's when left out")
    parser.add_argument("--traefik", default="", help="Traefik's image; the newest clawloops/traefik when left out")
    parser.add_argument("--rounds", type=int, help="of boots, in turns with the bare container")
    parser.add_argument("--wakes", type=int, help="from a pause")
    parser.add_argument("--runtimes", type=int, help="size of the crowd")
    parser.add_argument("--idle", type=float, metavar="SECONDS", help="how long idling is watched")
    chosen = parser.parse_args(arguments)
    return run(lambda: _measure(chosen), as_json=chosen.json)


async def _measure(chosen: argparse.Namespace) -> list[Figure]:
    with contextlib.closing(docker.DockerClient()) as client:
        image = chosen.image or newest(client, "clawloops/openclaw")
        if not image:
            raise SetupError("there is no image of OpenClaw; `./install.sh images` makes it, or name one by --image")
        stage = Stage(client, traefik=chosen.traefik or newest(client, "clawloops/traefik"))
        _say(_machine(client, image, stage))
        try:
            await stage.open(image)
            return await _parts(stage, image, chosen)
        finally:
            _say("sweeping up")
            await stage.close()


async def _parts(stage: Stage, image: str, chosen: argparse.Namespace) -> list[Figure]:
    sizes, only = _sizes(chosen), chosen.only or PARTS
    figures: list[Figure] = []
    async with stage.client() as http:
        try:
            if "boots" in only:
                figures += await _timed("boots", boots(stage, http, image, rounds=sizes.rounds))
            if "wakes" in only:
                work = wakes(stage, http, image, count=sizes.wakes, runtimes=sizes.sleepers, swap=sizes.swap)
                figures += await _timed("wakes", work)
            if "crowd" in only:
                light = chosen.standin or await asyncio.to_thread(stage.standin, image)
                work = crowd(stage, http, light, many=sizes.runtimes, idle_s=sizes.idle_s)
                figures += await _timed("crowd", work)
        except BaseException:
            if figures:
                _say(f"it ends early; measured until now:\n{report.table(figures)}")
            raise
    return figures


def _sizes(chosen: argparse.Namespace) -> Sizes:
    usual = QUICK if chosen.quick else FULL
    return Sizes(
        rounds=chosen.rounds or usual.rounds,
        wakes=chosen.wakes or usual.wakes,
        sleepers=usual.sleepers,
        runtimes=chosen.runtimes or usual.runtimes,
        idle_s=chosen.idle or usual.idle_s,
        swap=usual.swap,
    )


async def _timed(name: str, work: Awaitable[list[Figure]]) -> list[Figure]:
    began = time.monotonic()
    _say(f"{name} …")
    figures = await work
    _say(f"{name}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    return figures


def _machine(client: docker.DockerClient, image: str, stage: Stage) -> str:
    told = client.info()
    return (
        f"{told['NCPU']} cores, {told['MemTotal'] // 2**20} MiB, Docker Engine {told['ServerVersion']}, "
        f"cgroup v{told.get('CgroupVersion', '1')}, {told['ContainersRunning']} containers running, "
        f"load {os.getloadavg()[0]:.1f}\nOpenClaw: {image}; in front: {stage.traefik or 'nothing'}; "
        f"install {stage.install_id} and its peer {stage.peer_id}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
