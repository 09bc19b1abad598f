"""`clawloops bench pages`: how long the control plane needs for each page, with a hundred members and a million calls.

Needs root and the real Docker Engine; it sweeps up whatever it makes there. Time is that of a request on loopback, one
after the other. Weight is what a first visit brings, as it is sent: the page, and packed the stylesheet, the script and
the icon.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import aiohttp
import docker
import docker.errors

from clawloops.bench.postgresql import Server
from clawloops.bench.report import Figure, percentile, spread
from clawloops.bench.served import DASHBOARD, Served, serving
from clawloops.bench.stage import BASE, Stage, newest, run
from clawloops.bench.visitor import Member, database, members
from clawloops.clock import now_ms
from clawloops.errors import SetupError
from clawloops.model.account import Role
from clawloops.model.runtime import Want
from clawloops.store import sample
from clawloops.web import cookies

PAGES = (
    "/",
    "/first-run",
    "/workspace",
    "/workspace/log",
    "/workspace/internet",
    "/workspace/connections",
    "/keys",
    "/account",
    "/usage",
    "/models",
    "/members",
    "/members/list",
    "/members/mail",
    "/members/groups/new",
    "/members/sign-in",
    "/budgets",
    "/box",
    "/audit",
)
_ASSET = re.compile(r'(?:href|src)="(/static/[^"]+)"')
_P50_MS, _WEIGHT_KB = 10, 60


def main(arguments: Sequence[str]) -> int:
    """0 when every gate holds, 1 when one does not. Raises SetupError when it cannot be measured."""
    parser = argparse.ArgumentParser(prog="clawloops bench pages", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="a list for programs")
    parser.add_argument("--visits", type=int, default=40, help="of each page (default 40)")
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--calls", type=int, default=1_000_000)
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--postgresql", action="store_true", help="on a server of its own, from this host's package")
    kept.add_argument("--database", default="", help="an empty one, postgresql://USER@HOST/NAME; else SQLite")
    parser.add_argument("--password-file", default="", help="of the database's user")
    chosen = parser.parse_args(arguments)
    return run(lambda: _measure(chosen), as_json=chosen.json)


async def _measure(chosen: argparse.Namespace) -> list[Figure]:
    if not chosen.postgresql:
        return await _measure_on(chosen.database, chosen.password_file, chosen)
    server = Server(durable=True)
    try:
        await asyncio.to_thread(server.make)
        await asyncio.to_thread(server.start)
        return await _measure_on(server.local_url, str(server.password_file), chosen)
    finally:
        server.remove()


async def _measure_on(database_url: str, password_file: str, chosen: argparse.Namespace) -> list[Figure]:
    with contextlib.closing(docker.DockerClient()) as client:
        image = newest(client, "clawloops/openclaw")
        if not image:
            raise SetupError("there is no image clawloops/openclaw here: ./install.sh images makes it")
        stage = Stage(client, traefik="", database=database_url, password_file=password_file)
        try:
            await stage.open(image)
            crew = await members(stage, chosen.members - 1, Want.STOPPED)
            (owner,) = await members(stage, 1, Want.STOPPED, role=Role.OWNER)
            async with database(stage) as db:
                await sample.calls(db, [each.user.id for each in [*crew, owner]], chosen.calls, until=now_ms())
            async with stage.client() as http, serving(stage, stage.settings(image=image), http) as served:
                return await _visits(http, served, owner, chosen.visits)
        finally:
            await stage.close()


async def _visits(http: aiohttp.ClientSession, served: Served, owner: Member, visits: int) -> list[Figure]:
    figures = []
    pages = {path: await _ask(http, path, owner) for path in PAGES}  # their templates are read once
    times: dict[str, list[float]] = {path: [] for path in PAGES}
    for _ in range(visits):  # in turns: what else the process does after its start is spread over all of them
        for path in PAGES:
            began = time.perf_counter()
            pages[path] = await _ask(http, path, owner)
            times[path].append((time.perf_counter() - began) * 1000)
    for path, took in times.items():
        page = pages[path]
        assets = [await _ask(http, each, owner) for each in sorted(set(_ASSET.findall(page.text)))]
        weight = sum(each.weight for each in [page, *assets]) / 1000
        figures += [
            Figure(name=f"{path}, p50", value=median(took), unit="ms", gate=_P50_MS, spread=spread(took)),
            Figure(name=f"{path}, p99", value=percentile(took, 99), unit="ms"),
            Figure(name=f"{path}, first visit", value=weight, unit="kB", gate=_WEIGHT_KB),
        ]
    return [*figures, Figure(name="memory of the control plane", value=served.memory_mb(), unit="MB")]


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    weight: int  # bytes of its body as they were sent


async def _ask(http: aiohttp.ClientSession, path: str, owner: Member) -> _Answer:
    headers = {"Host": BASE, "Cookie": f"{cookies.SESSION}={owner.dashboard}", "Accept": "text/html"}
    async with http.get(DASHBOARD + path, headers=headers, allow_redirects=False) as answer:
        if answer.status != 200:
            raise SetupError(f"{path} was answered with {answer.status} instead of the page")
        return _Answer(await answer.text(), int(answer.headers["Content-Length"]))
