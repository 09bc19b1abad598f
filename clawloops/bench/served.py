"""A control plane in a process of its own, seen from outside: what it looked at and when, its memory, its CPU time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from clawloops.bench.plane import BEGINS
from clawloops.bench.stage import ROOT, Stage
from clawloops.errors import SetupError
from clawloops.model.runtime import Phase

DASHBOARD = "http://127.0.0.1:8081"
_TICKS = os.sysconf("SC_CLK_TCK")


class Served:
    """Instants are seconds of the monotonic clock."""

    def __init__(self, process: asyncio.subprocess.Process, began: float, witness: Path, log: Path) -> None:
        self.began = began
        self.phases: dict[str, tuple[Phase, float]] = {}  # each runtime's, and since when it is shown
        self._process = process
        self._witness = witness.open("rb")
        self._log, self._log_from = log, log.stat().st_size
        self._begun: dict[str, float] = {}
        self._looked: dict[str, float] = {}  # when the last finished look had begun
        self._finished: dict[str, float] = {}

    async def until(self, what: str, done: Callable[[], bool], *, seconds: float, every_s: float = 0.02) -> None:
        """Raises SetupError with what it waited for and the end of the log."""
        until = time.monotonic() + seconds
        while not done():
            if self._process.returncode is not None or time.monotonic() > until:
                tail = "\n".join(self._log.read_text().splitlines()[-15:])
                raise SetupError(f"{what}: not within {seconds:.0f} s; the end of its log:\n{tail}")
            await asyncio.sleep(every_s)
            self._read()

    async def shows(self, runtime_id: str, phase: Phase, *, since: float, seconds: float = 180) -> float:
        """Wait until a runtime is shown in `phase`, entered after `since`. Returns when that was."""
        self._read()

        def is_so() -> bool:
            now, at = self.phases.get(runtime_id, (Phase.ABSENT, 0.0))
            return now is phase and at >= since

        await self.until(f"{runtime_id} is {phase}", is_so, seconds=seconds)
        return self.phases[runtime_id][1]

    async def all_show(self, runtimes: Collection[str], phase: Phase, *, seconds: float) -> float:
        """Wait until all are shown in `phase`. Returns when the last one was."""
        self._read()
        await self.until(
            f"{len(runtimes)} runtimes are {phase}",
            lambda: all(self.phases.get(each, (None,))[0] is phase for each in runtimes),
            seconds=seconds,
        )
        return max(self.phases[each][1] for each in runtimes)

    async def all_looked(self, runtimes: Collection[str], *, since: float, seconds: float = 60) -> float:
        """Wait until each was looked at by a look that began after `since`. Returns when the last one ended."""
        await self.until(
            "every runtime is looked at",
            lambda: all(self._looked.get(each, 0.0) >= since for each in runtimes),
            seconds=seconds,
        )
        return max(self._finished[each] for each in runtimes)

    async def answers(self, http: aiohttp.ClientSession) -> float:
        """Wait until it says that it is up. Returns when that was."""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{DASHBOARD}/healthz") as answer:
                    if answer.status == 200:
                        return time.monotonic()
            await self.until("it lives", lambda: True, seconds=1)
            if time.monotonic() - self.began > 60:
                await self.until("it answers", lambda: False, seconds=0)
            await asyncio.sleep(0.01)

    async def tested(self) -> None:
        """Wait for its first self-test of the isolation: starts wait for that, once in a control plane's life."""

        def is_told() -> bool:
            with self._log.open("rb") as log:
                log.seek(self._log_from)
                return b"self-test of the isolation" in log.read()

        await self.until("the walls are tested", is_told, seconds=60)

    def cpu_s(self) -> float:
        """CPU time of all its threads so far (proc(5), stat: utime and stime)."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self, what: str = "VmRSS") -> float:
        """MiB. `what`: VmRSS now, VmHWM at most so far (proc(5), status)."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))

    async def stop(self) -> None:
        """As Docker does: SIGTERM, and SIGKILL when it does not end."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(30):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._witness.close()

    def _read(self) -> None:
        if self._witness.closed:
            return
        for line in self._witness:
            at, runtime_id, what = line.split()
            self._note(int(at) / 1e9, runtime_id.decode(), what.decode())

    def _note(self, at: float, runtime_id: str, what: str) -> None:
        if what == BEGINS:
            self._begun[runtime_id] = at
            return
        phase = Phase(what)
        if self.phases.get(runtime_id, (None,))[0] is not phase:
            self.phases[runtime_id] = (phase, at)
        self._looked[runtime_id], self._finished[runtime_id] = self._begun.get(runtime_id, 0.0), at


@asynccontextmanager
async def serving(stage: Stage, environment: Mapping[str, str], http: aiohttp.ClientSession) -> AsyncIterator[Served]:
    """One that answers, inside the edge's network namespace as in the appliance."""
    witness, log = stage.data / "witness", stage.data / "serve.log"
    witness.unlink(missing_ok=True)
    witness.touch()
    began = time.monotonic()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--net=/proc/{stage.edge_pid}/ns/net", sys.executable, "-m", "clawloops.bench.plane"),
            str(witness),
            cwd=ROOT,
            env=dict(environment),
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then ends it
        )
    served = Served(process, began, witness, log)
    try:
        await served.answers(http)
        yield served
    finally:
        await served.stop()
