"""A process that leads whenever it may and writes down every instant of it, so that a test can prove "never two".

`python -m tests.store.contender URL DATA BEATS` runs one. As long as it leads, a thread appends its pid and the
monotonic clock to BEATS: whoever was killed at some instant has led until its last line, at least.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import uvloop

from clawloops.store.leader import lead

BEAT_S = 0.002


class Contender:
    """One such process, seen from the test."""

    def __init__(self, url: str, data: Path, beats: Path) -> None:
        self._command = (sys.executable, "-m", "tests.store.contender", url, str(data), str(beats))
        self._beats = beats
        self.log = ""
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log += line.decode()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def leads(self) -> bool:
        """Whether it has led at some time; its pid is its own in `beats`."""
        return str(self.pid) in led(self._beats)

    async def until_it_leads(self, seconds: float) -> float:
        """How many seconds that took."""
        began = time.monotonic()
        while not self.leads:
            assert self.process.returncode is None, self.log
            assert time.monotonic() - began < seconds, f"does not lead after {seconds} s:\n{self.log}"
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def until_it_says(self, words: str, seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while words not in self.log:
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.01)

    async def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
            if how is signal.SIGKILL:
                self.process.send_signal(signal.SIGCONT)
        return await self.ended()

    async def ended(self, seconds: float = 20) -> int:
        """Its exit status."""
        async with asyncio.timeout(seconds):
            status = await self.process.wait()
            await self._reader
        return status


def led(beats: Path) -> dict[str, tuple[int, int]]:
    """For each pid the first and the last instant of leading, monotonic ns."""
    found: dict[str, tuple[int, int]] = {}
    lines = beats.read_text().split("\n") if beats.exists() else [""]
    for line in lines[:-1]:  # what follows the last line break is still being written
        pid, at = line.split()
        found[pid] = (found[pid][0] if pid in found else int(at), int(at))
    return found


def overlaps(beats: Path) -> list[str]:
    """Pairs of processes that led at the same instant."""
    terms = sorted((began, ended, pid) for pid, (began, ended) in led(beats).items())
    return [
        f"{later} led {(before[1] - began) / 1e6:.3f} ms before {before[2]} had ended"
        for before, (began, _, later) in itertools.pairwise(terms)
        if began <= before[1]
    ]


def _beat(beats: Path) -> NoReturn:
    with beats.open("ab", buffering=0) as file:
        while True:
            file.write(f"{os.getpid()} {time.monotonic_ns()}\n".encode())
            time.sleep(BEAT_S)


def _lost(reason: str) -> None:
    logging.critical("lost: %s", reason)
    os._exit(75)


async def main(url: str, data: Path, beats: Path) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with lead(url, data=data, wait_s=30, on_lost=_lost):
        threading.Thread(target=_beat, args=(beats,), daemon=True).start()
        await stopping.wait()
        os._exit(0)  # the thread must not outlive the lock


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
