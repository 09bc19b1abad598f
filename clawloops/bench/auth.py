"""`clawloops bench auth`: what ForwardAuth costs for each request to a workspace, beside nginx and bare aiohttp.

Needs nginx and wrk. One core has whatever is measured, another one the load; the rounds of all take turns, and medians
are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from clawloops.bench import rounds
from clawloops.bench.peers import Cast, free_port
from clawloops.bench.report import Figure
from clawloops.bench.wrk import Load, Wrk, told

_CONNECTIONS = 32
_NGINX = "  server {{ listen 127.0.0.1:{port} backlog=4096; return 200; }}\n"


def main(arguments: Sequence[str]) -> int:
    """0 when every gate holds, 1 when one does not. Raises SetupError when it cannot be measured."""
    return rounds.run(_measure, rounds.parser("auth", __doc__).parse_args(arguments))


async def _measure(chosen: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="clawloops-bench-") as name, closing(Cast(Path(name))) as cast:
        folder = Path(name)
        door = [sys.executable, "-m", "clawloops.bench.door"]
        ours = await cast.start("forward-auth", [*door, str(folder)], core=0)
        bare = await cast.start("aiohttp", [*door, "--empty"], core=0)
        port = free_port()
        nginx = await cast.start("nginx", cast.nginx_command("nginx", _NGINX.format(port=port)), core=0, port=port)
        asked = json.loads(await asyncio.to_thread((folder / "asked.json").read_text))
        script = "".join(
            f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}\n" for key, value in asked["headers"].items()
        )
        wrk, loads = Wrk(folder), {each.name: list[Load]() for each in (nginx, bare, ours)}
        for _ in range(chosen.rounds):
            for each in (nginx, bare, ours):
                loads[each.name].append(
                    await wrk.run(each, asked["path"], script, connections=_CONNECTIONS, seconds=chosen.seconds)
                )
        return _compared(loads)


def _compared(loads: dict[str, list[Load]]) -> list[Figure]:
    def rps(name: str) -> float:
        return median(each.rps for each in loads[name])

    return [
        *told(loads, _CONNECTIONS),
        Figure(name="RPS / empty aiohttp handler's", value=rps("forward-auth") / rps("aiohttp"), unit="x"),
        Figure(
            name="RPS / nginx's return 200",
            value=rps("forward-auth") / rps("nginx"),
            unit="x",
            gate=0.30,
            moonshot=0.85,
            more_is_better=True,
        ),
    ]
