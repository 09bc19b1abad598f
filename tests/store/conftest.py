"""Every store test runs on a SQLite file and on a real PostgreSQL, started once; each has a schema of its own there."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate

PASSWORD = "open-sesame"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.fail("PostgreSQL is not installed; tests/run does that: apt-get install postgresql", pytrace=False)
    return found[-1].parent


def _as_postgres(command: Sequence[str | Path]) -> list[str]:
    """initdb and postgres refuse root, so root becomes the user that Debian's package made."""
    became = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    return [*became, *map(str, command)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Address (host:port) of a server that lives as long as the test session; user postgres, password PASSWORD."""
    programs, home = _programs(), Path(tempfile.mkdtemp(prefix="clawloops-pg-"))
    (home / "password").write_text(PASSWORD)
    if os.getuid() == 0:
        for path in (home, home / "password"):
            shutil.chown(path, "postgres", "postgres")
    made: list[str | Path] = [
        programs / "initdb",
        "--username=postgres",
        "--auth=scram-sha-256",
        f"--pwfile={home}/password",
    ]
    subprocess.run(
        _as_postgres([*made, "--encoding=UTF8", "--no-sync", "-D", home / "data"]), check=True, capture_output=True
    )
    port = _free_port()
    options: dict[str, object] = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": home,
        "fsync": "off",
    }
    options["client_connection_check_interval"] = 100  # ms; a killed client's statement ends soon
    log = (home / "log").open("wb")
    server = subprocess.Popen(
        _as_postgres(
            [programs / "postgres", "-D", home / "data", *(f"--{name}={value}" for name, value in options.items())]
        ),
        stdout=log,
        stderr=log,
    )
    try:
        until = time.monotonic() + 60
        ready: list[str | Path] = [programs / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={port}"]
        while subprocess.run(ready, check=False).returncode:
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"PostgreSQL did not start:\n{(home / 'log').read_text()}", pytrace=False)
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # "fast": SIGTERM would wait for a connection that a failed test left open
        server.wait(30)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Address of an empty database, its password included."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    server = f"postgresql://postgres:{PASSWORD}@{request.getfixturevalue('postgresql_server')}/postgres"
    schema = f"t_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f"CREATE SCHEMA {schema}")
        yield f"{server}?search_path={schema}"
        await admin.execute(f"DROP SCHEMA {schema} CASCADE")
    finally:
        await admin.close()


@pytest.fixture
async def empty(url: str) -> AsyncIterator[Database]:
    """An open database without tables."""
    db = await open_database(url)
    yield db
    await db.close()


@pytest.fixture
async def db(empty: Database, tmp_path: Path) -> Database:
    """An open database with the schema of today."""
    await migrate(empty, backup_dir=tmp_path / "backups")
    return empty
