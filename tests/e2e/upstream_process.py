"""The scriptable upstream of `tests/upstream.py` as a process that containers of an install can reach."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e.appliance import ROOT


@dataclass(frozen=True, slots=True)
class Upstream:
    url: str  # without a path

    def script(self, model: str, **fields: object) -> None:
        """What happens for one model name; the fields are those of `tests.upstream.Script`."""
        self._call("PUT", f"/control/scripts/{model}", json.dumps(fields).encode())

    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._call("GET", "/control/requests"))
        return found

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(
            self.url + path, data=body, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            read: bytes = answer.read()
            return read


@contextmanager
def upstream_at(host: str) -> Iterator[Upstream]:
    """One on a free port of `host`, ended with the block."""
    command = [sys.executable, "-m", "tests.upstream", "--host", host]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), "the scripted upstream did not start"
            yield Upstream(url)
        finally:
            process.terminate()
