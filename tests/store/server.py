"""A real PostgreSQL server of the test's own, on a free port of this machine, that can be stopped and started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

PASSWORD = "open-sesame"


class Server:
    """`address` is host:port; user postgres, password PASSWORD."""

    def __init__(self) -> None:
        self._programs, self._home = _programs(), Path(tempfile.mkdtemp(prefix="clawloops-pg-"))
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        options: dict[str, object] = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._home,
            "fsync": "off",
            "client_connection_check_interval": 100,  # ms; a killed client's statement ends soon
        }
        self._options = [f"--{name}={value}" for name, value in options.items()]
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        (self._home / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (self._home, self._home / "password"):
                shutil.chown(path, "postgres", "postgres")
        made: list[str | Path] = [
            self._programs / "initdb",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={self._home}/password",
        ]
        subprocess.run(
            _as_postgres([*made, "--encoding=UTF8", "--no-sync", "-D", self._home / "data"]),
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Returns when it answers."""
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                _as_postgres([self._programs / "postgres", "-D", self._home / "data", *self._options]),
                stdout=log,
                stderr=log,
            )
        host, _, port = self.address.partition(":")
        ready: list[str | Path] = [self._programs / "pg_isready", "--quiet", f"--host={host}", f"--port={port}"]
        until = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"PostgreSQL did not start:\n{(self._home / 'log').read_text()}", pytrace=False)
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            # "fast": SIGTERM would wait for a connection that a failed test left open
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.fail("PostgreSQL is not installed; tests/run does that: apt-get install postgresql", pytrace=False)
    return found[-1].parent


def _as_postgres(command: Sequence[str | Path]) -> list[str]:
    """initdb and postgres refuse root, so root becomes the user that Debian's package made."""
    became = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    return [*became, *map(str, command)]


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
