"""A real PostgreSQL server of one's own, from the host's package, on loopback; it can be stopped and started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from clawloops.bench.peers import free_port
from clawloops.errors import SetupError

PASSWORD = "open-sesame"  # noqa: S105  # of a server that lives for a test or a benchmark


class Server:
    """`address` is host:port, `password_file` holds PASSWORD, that of its user postgres."""

    def __init__(self, *, durable: bool = False) -> None:
        """Raises SetupError where PostgreSQL is not installed."""
        self._programs, self._home = _programs(), Path(tempfile.mkdtemp(prefix="clawloops-pg-", dir="/var/tmp"))
        self._port = port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.password_file = self._home / "password"
        options: dict[str, object] = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._home,
            "fsync": "on" if durable else "off",
            "client_connection_check_interval": 100,  # ms; a killed client's statement ends soon
        }
        self._options = [f"--{name}={value}" for name, value in options.items()]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def local_url(self) -> str:
        """By its socket, which every network namespace of the machine reaches."""
        return f"postgresql://postgres@/postgres?host={self._home}&port={self._port}"

    def make(self) -> None:
        """Raises SetupError."""
        self.password_file.write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (self._home, self.password_file):
                shutil.chown(path, "postgres", "postgres")
        made: list[str | Path] = [
            self._programs / "initdb",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={self.password_file}",
        ]
        command = _as_postgres([*made, "--encoding=UTF8", "--no-sync", "-D", self._home / "data"])
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SetupError(f"PostgreSQL could not be set up; it said:\n{done.stderr[-2000:]}")

    def start(self) -> None:
        """Returns when it answers. Raises SetupError with the end of what it said."""
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
                raise SetupError(f"PostgreSQL did not start; it said:\n{(self._home / 'log').read_text()[-2000:]}")
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
        raise SetupError("PostgreSQL is not installed here: apt-get install postgresql")
    return found[-1].parent


def _as_postgres(command: Sequence[str | Path]) -> list[str]:
    """initdb and postgres refuse root, so root becomes the user that Debian's package made."""
    became = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    return [*became, *map(str, command)]
