"""Rounds of wrk against one process, on a core of its own, with what that process spent of its CPU meanwhile."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from clawloops.bench.peers import Peer, core_of, tool
from clawloops.bench.report import Figure, spread
from clawloops.errors import SetupError

_LONGEST_S = 30


@dataclass(frozen=True, slots=True)
class Load:
    """One round."""

    rps: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of the process, for each request
    answers: int


class Wrk:
    def __init__(self, folder: Path) -> None:
        self._program = tool("wrk")
        self._folder = folder

    async def run(self, peer: Peer, path: str, script: str, *, connections: int, seconds: int) -> Load:
        """`script`: Lua that says what to send. Raises SetupError when a call was not answered with 2xx or 3xx.

        A round that was too short for a single answer is made again, longer: of 32 calls at once to LiteLLM the first
        one may take more than a second.
        """
        file = self._folder / f"{peer.name}.lua"
        file.write_text(script + _DONE)
        before = peer.cpu_s()
        process = await asyncio.create_subprocess_exec(
            *(tool("taskset"), "-c", str(core_of(1)), self._program, "-t1", f"-c{connections}", f"-d{seconds}s"),
            *("--timeout", "30s", "-s", str(file), f"{peer.url}{path}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
        found = re.search(r"clawloops (\d+) (\d+) (\d+) (\d+) (\d+)", said)
        if found is None:
            raise SetupError(f"wrk did not measure {peer.name}: {said[-500:]}")
        answers, took_us, p50_us, p99_us, wrong = map(int, found.groups())
        if not answers and not wrong and seconds < _LONGEST_S:
            return await self.run(peer, path, script, connections=connections, seconds=4 * seconds)
        if wrong or not answers:
            raise SetupError(f"{peer.name} did not answer {wrong} of {answers} calls as it should")
        cpu_us = (peer.cpu_s() - before) * 1e6 / answers
        return Load(answers * 1e6 / took_us, p50_us / 1000, p99_us / 1000, cpu_us, answers)


def told(loads: Mapping[str, Sequence[Load]], connections: int) -> list[Figure]:
    """Of each process, by name: requests a second, and CPU for each."""
    figures = [
        Figure(
            name=f"{name}: {connections} connections",
            value=median(each.rps for each in its),
            unit="RPS",
            spread=spread([each.rps for each in its]),
        )
        for name, its in loads.items()
    ]
    figures += [
        Figure(
            name=f"{name}: CPU",
            value=median(each.cpu_us for each in its),
            unit="µs/request",
            spread=spread([each.cpu_us for each in its]),
        )
        for name, its in loads.items()
    ]
    return figures


_DONE = """
done = function(summary, latency)
  local e = summary.errors
  print(string.format("clawloops %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.status + e.connect + e.read + e.write + e.timeout))
end
"""
