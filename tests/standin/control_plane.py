"""A control plane in a process of its own, so that a test can kill it as a crash would: store, Engine, orchestrator.

`python -m tests.standin.control_plane TOLD.json` runs one until it is killed; SIGUSR1 means "look at all".
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from clawloops.model.runtime import Phase, Sandbox
from clawloops.orchestrator.board import Board
from clawloops.runtimes.client import Engine
from clawloops.runtimes.spec import Install
from clawloops.store.db import open_database
from clawloops.store.migrate import migrate
from tests.standin.parts import FromEdge, from_edge, orchestrator
from tests.standin.place import ROOT, Tokens

DUMP_EVERY_S = 0.05
API = "1.41"  # named, because asking for it needs a daemon that answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that a control plane has to know."""

    install: Install
    engine: str  # the Docker socket that it works through
    docker: str  # the real one, which its probe asks for the edge
    database: str
    views: str  # the file that its board is written to, for the test to read


class ControlPlane:
    """One such process, seen from the test."""

    def __init__(self, told: Told) -> None:
        self.views = Path(told.views)
        self.log = self.views.with_suffix(".log")
        order = self.views.with_suffix(".told")
        order.write_text(json.dumps(dataclasses.asdict(told)))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.standin.control_plane", str(order)], cwd=ROOT, stdout=log, stderr=log
            )
        self._exit = os.pidfd_open(self.process.pid)
        self._closed = False
        # A descriptor that is closed may be another file's at once: nobody waits on it while it is let go of.
        self._holding = threading.RLock()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def begun(self) -> bool:
        """Whether its orchestrator has started."""
        return self.views.exists()

    def kill(self) -> None:
        """SIGKILL, and wait until nothing of it is left. From any thread; dead or let go of already is fine."""
        with self._holding:
            if self._closed:
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._exit, signal.SIGKILL)
            select.select([self._exit], [], [])

    def wake_all(self) -> None:
        """It looks at every runtime soon; one that has not begun does so anyway, and a dead one never."""
        if self.begun and self.alive:
            self.process.send_signal(signal.SIGUSR1)

    def view(self, runtime_id: str) -> tuple[Phase, str]:
        """The phase that it shows, and the reason."""
        shown: dict[str, Any] = json.loads(self.views.read_text()) if self.begun else {}
        phase, reason = shown.get(runtime_id, (Phase.ABSENT.value, ""))
        return Phase(phase), reason

    def close(self) -> None:
        """Kill it and let go of it; to be called as often as you like."""
        with self._holding:
            if not self._closed:
                self.kill()
                self._closed = True
                self.process.wait()
                os.close(self._exit)


async def run(told: Told) -> None:
    woken = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, woken.set)
    db = await open_database(told.database)
    await migrate(db, backup_dir=Path(told.install.data))
    client = docker.DockerClient(told.docker, version=API)
    edge, board = told.install.edge, Board()
    made = orchestrator(
        db,
        Engine(told.engine),
        Tokens(),
        install=told.install,
        probe=lambda address: from_edge(client, edge, address),
        control=FromEdge(client, edge),
        board=board,
    )
    await made.start()
    views, before = Path(told.views), None
    while True:
        shown = {view.runtime_id: (view.phase.value, view.reason) for view in board.all()}
        if shown != before:
            before, part = shown, views.with_suffix(".part")
            part.write_text(json.dumps(shown))
            part.replace(views)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DUMP_EVERY_S):
                await woken.wait()
            woken.clear()
            made.wake_all()


def told(text: str) -> Told:
    """What a test has written down for it."""
    fields = json.loads(text)
    install = fields["install"]
    install["sandbox"] = Sandbox(install["sandbox"])
    return Told(**fields | {"install": Install(**install)})


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(name)s %(message)s", datefmt="%H:%M:%S")
    asyncio.run(run(told(Path(sys.argv[1]).read_text())))
