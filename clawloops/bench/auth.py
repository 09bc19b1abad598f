"""`clawloops bench auth`: what ForwardAuth costs for each request to a workspace, beside nginx and bare aiohttp.

Needs nginx, wrk and Traefik. One core has whatever is measured, another one the load; the rounds of all take turns, and
medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from clawloops.bench import asked, front, rounds
from clawloops.bench.front import Front
from clawloops.bench.peers import Cast, Peer, core_of, free_port, tool
from clawloops.bench.report import Figure, percentile, spread
from clawloops.bench.wrk import Load, Wrk, told
from clawloops.errors import SetupError

_CONNECTIONS = 32
_RATE = 50  # requests a second of a small team at work
_NGINX = "  server {{ listen 127.0.0.1:{port} backlog=4096; return 200; }}\n"
_PATIENCE_S = 5
_Sample = tuple[float, float]  # p50 and p99, ms


def main(arguments: Sequence[str]) -> int:
    """0 when every gate holds, 1 when one does not. Raises SetupError when it cannot be measured."""
    parser = rounds.parser("auth", __doc__)
    parser.add_argument("--traefik", default="", help="its program; from the PATH or this box's image when left out")
    return rounds.run(_measure, parser.parse_args(arguments))


async def _measure(chosen: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="clawloops-bench-") as name, closing(Cast(Path(name))) as cast:
        folder = Path(name)
        traefik = await asyncio.to_thread(front.program, folder, chosen.traefik)
        door = [sys.executable, "-m", "clawloops.bench.door"]
        ours = await cast.start("forward-auth", [*door, str(folder)], core=0)
        bare = await cast.start("aiohttp", [*door, "--empty"], core=0)
        port = free_port()
        nginx = await cast.start("nginx", cast.nginx_command("nginx", _NGINX.format(port=port)), core=0, port=port)
        members = json.loads(await asyncio.to_thread((folder / "asked.json").read_text))
        both = await front.front(cast, folder, traefik, door=ours, members=members, behind=nginx)
        wrk, browser = Wrk(folder), asked.of_browser(members[0])
        script = asked.script(asked.of_traefik(members))
        loads: dict[str, list[Load]] = {each.name: [] for each in (nginx, bare, ours)}
        single: dict[str, list[_Sample]] = {each.name: [] for each in (both.bare, both.guarded)}
        paced: dict[str, list[_Sample]] = {each.name: [] for each in (both.bare, both.guarded)}
        for _ in range(chosen.rounds):
            for each in (nginx, bare, ours):
                loads[each.name].append(
                    await wrk.run(each, "/", script, connections=_CONNECTIONS, seconds=chosen.seconds)
                )
            for each in (both.bare, both.guarded):
                one = await wrk.run(each, "/", asked.script([browser]), connections=1, seconds=chosen.seconds)
                single[each.name].append((one.p50_ms, one.p99_ms))
                paced[each.name].append(await _paced(each, browser, chosen.seconds))
        return [
            *_compared(loads),
            *_added("one connection", single, both),
            *_added(f"{_RATE} requests a second", paced, both),
            await asyncio.to_thread(_revoked, ours, both.guarded, members[: chosen.rounds]),
        ]


async def _paced(peer: Peer, request: bytes, seconds: int) -> _Sample:
    process = await asyncio.create_subprocess_exec(
        *(tool("taskset"), "-c", str(core_of(1)), sys.executable, "-m", "clawloops.bench.pace"),
        *(str(peer.port), str(_RATE), str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, why = await process.communicate(request)
    if process.returncode:
        raise SetupError(f"Traefik {peer.name} was not measured: {why.decode()[-500:]}")
    took: list[float] = json.loads(said)
    return percentile(took, 50), percentile(took, 99)


def _revoked(door: Peer, guarded: Peer, members: Sequence[Mapping[str, str]]) -> Figure:
    """From a session's end until a request of its browser is refused, each asked through Traefik without a pause."""
    took = []
    for member in members:
        with closing(http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=_PATIENCE_S)) as line:

            def status(line: http.client.HTTPConnection = line, member: Mapping[str, str] = member) -> int:
                line.request("GET", "/chat", headers={"Host": member["host"], "Cookie": member["cookie"]})
                answer = line.getresponse()
                answer.read()
                return answer.status

            if status() != 200:
                raise SetupError("a member whose session is live was not let in")
            began = time.monotonic()
            door.process.send_signal(signal.SIGUSR1)
            while status() == 200:
                if time.monotonic() - began > _PATIENCE_S:
                    raise SetupError(f"a member is let in {_PATIENCE_S} s after their session was revoked")
            took.append((time.monotonic() - began) * 1000)
    return Figure(name="revoked until refused", value=max(took), unit="ms", gate=1000, spread=spread(took))


def _added(how: str, samples: dict[str, list[_Sample]], both: Front) -> list[Figure]:
    """What ForwardAuth adds to each, of rounds that ran one after the other."""
    pairs = list(zip(samples[both.bare.name], samples[both.guarded.name], strict=True))
    figures = []
    for which, name in enumerate(("p50", "p99")):
        added = [mine[which] - its[which] for its, mine in pairs]
        bare = median(its[which] for its, _ in pairs)
        figures.append(
            Figure(
                name=f"added {name}, {how}",
                value=median(added),
                unit="ms",
                gate=2 if name == "p99" else None,
                spread=f"{spread(added)}; without it {bare:.2g} ms",
            )
        )
    return figures


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
