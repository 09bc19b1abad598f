"""Rounds of wrk: one that is too short for an answer is made longer, and a wrong answer ends the benchmark."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawloops.bench.peers import Peer, free_port
from clawloops.bench.wrk import Wrk
from clawloops.errors import SetupError

_SLOW = """
import http.server, sys, time
class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(1.5)
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Slow)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture
def slow() -> Iterator[Peer]:
    """Answers with the status that its path names, after a second and a half."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", _SLOW, str(port)], stdout=subprocess.PIPE) as process:
        peer = Peer("slow", port, 0.0, process)
        try:
            assert process.stdout is not None and process.stdout.readline()
            yield peer
        finally:
            peer.stop()


@pytest.mark.docker  # for wrk, which comes with what `tests/run` installs beside Docker
async def test_a_round_without_an_answer_is_made_again_longer(slow: Peer, tmp_path: Path) -> None:
    wrk = Wrk(tmp_path)
    assert (await wrk.run(slow, "/200", "", connections=1, seconds=1)).answers in (1, 2)
    with pytest.raises(SetupError, match="slow did not answer"):
        await wrk.run(slow, "/500", "", connections=1, seconds=1)
