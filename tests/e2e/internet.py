"""An internet of one host: a web server at a public address, in a network namespace of its own on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ADDRESS, HERE = "44.128.7.9", "44.128.7.10"  # of no importance: 44.0.0.0/8 is public
SAID = "The lake of Thun is 217 metres deep."
PAGE = f"<html><title>Lakes</title><body><p>{SAID}</p></body></html>"
NAMESPACE = "clawloops-internet"

_SERVE = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.path, file=open(sys.argv[2], "a"), flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(sys.argv[3])))
        self.end_headers()
        self.wfile.write(sys.argv[3].encode())
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 8080), Page)
print("ready", flush=True)
server.serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Internet:
    log: Path
    place: str = f"{ADDRESS}:8080"

    @property
    def asked(self) -> list[str]:
        """The paths that the server was asked for."""
        return self.log.read_text().split() if self.log.exists() else []


@contextmanager
def internet(folder: Path) -> Iterator[Internet]:
    """`folder`: for what the server notes."""
    log = folder / "asked"
    log.unlink(missing_ok=True)
    _ip("netns", "add", NAMESPACE)
    try:
        _ip("link", "add", "cl-here", "type", "veth", "peer", "name", "cl-there", "netns", NAMESPACE)
        _ip("address", "add", f"{HERE}/30", "dev", "cl-here")
        _ip("link", "set", "cl-here", "up")
        for command in (
            ("address", "add", f"{ADDRESS}/30", "dev", "cl-there"),
            ("link", "set", "cl-there", "up"),
            ("route", "add", "default", "via", HERE),
        ):
            _ip("-n", NAMESPACE, *command)
        serve = ["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", _SERVE, ADDRESS, str(log), PAGE]
        with subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None and server.stdout.readline() == "ready\n"
                yield Internet(log)
            finally:
                server.terminate()
    finally:
        _ip("netns", "del", NAMESPACE)  # its end of the pair goes with it, and so does ours


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True, timeout=10, capture_output=True)
