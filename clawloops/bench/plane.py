"""The real control plane with a witness: `python -m clawloops.bench.plane FILE` runs `serve`, and notes each look.

A line of FILE: an instant (nanoseconds of the monotonic clock, which all processes share), a runtime id, and "begins"
or the phase that the look found.
"""

from __future__ import annotations

import os
import sys
import time

import uvloop

from clawloops import app
from clawloops.config import load
from clawloops.log import configure
from clawloops.model.runtime import Runtime, View
from clawloops.orchestrator.board import Board

BEGINS = "begins"


class Witness(Board):
    """The board as ever; what the loop writes to it is noted as well."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def know(self, runtime: Runtime) -> None:
        super().know(runtime)
        self._note(runtime.id, BEGINS)

    def put(self, view: View) -> None:
        super().put(view)
        self._note(view.runtime_id, view.phase)

    def _note(self, runtime_id: str, what: str) -> None:
        os.write(self._file, f"{time.monotonic_ns()} {runtime_id} {what}\n".encode())


if __name__ == "__main__":
    settings = load(os.environ)
    configure(settings.log_level)
    uvloop.run(app.serve(settings, board=Witness(sys.argv[1])))
