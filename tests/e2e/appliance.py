"""The appliance as `install.sh` builds it, seen from outside: its commands, its files, its containers."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clawloops.bench.peers import free_port

ROOT = Path(__file__).resolve().parents[2]
INSTALL_LIMIT_S = 900.0
COMPOSE_SETTINGS = ("COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME")
LINK = re.compile(r"https?://[^\s\"']+/join/[\w-]+")


@dataclass(frozen=True, slots=True)
class Mode:
    """One of the two ways to reach a box: plain HTTP on this machine, or HTTPS under a name of the team's own.

    Each runs on a database of its own kind, so that both are seen in the whole appliance.
    """

    name: str
    domain: str = ""
    postgresql: bool = False

    def __str__(self) -> str:
        return self.name


HTTP = Mode("http")
HTTPS = Mode("https", domain="team.test", postgresql=True)


def run(*command: str, limit_s: float = 60.0, check: bool = True, stdin: bytes | None = None) -> str:
    """Standard output and error of a command, together. AssertionError with all of it when it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        input=stdin or b"",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=limit_s,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0 or not check, f"{' '.join(command)} ended with {done.returncode}:\n{text[-6000:]}"
    return text


def docker(*command: str, limit_s: float = 60.0, check: bool = True, stdin: bytes | None = None) -> str:
    return run("docker", *command, limit_s=limit_s, check=check, stdin=stdin)


class Appliance:
    """One install, in a data folder and on ports of its own."""

    def __init__(self, mode: Mode, folder: Path, log: Path) -> None:
        self.mode = mode
        self.data = folder / "data"
        self.log = log
        self.http_port, self.https_port = free_port(), free_port()
        self.printed = ""

    # --- the installer

    def install(self, *more: str) -> str:
        """Runs ./install.sh and returns what it printed."""
        command = ["./install.sh", "--data", str(self.data), "--http-port", str(self.http_port)]
        if self.mode.domain:
            command += ["--domain", self.mode.domain, "--https-port", str(self.https_port)]
        if self.mode.postgresql and not self.data.exists():  # chosen in the settings, as docs/operations.md says
            self.data.mkdir(parents=True)
            (self.data / ".env").write_text(
                "COMPOSE_PROFILES=ollama,postgres\nCLAWLOOPS_DATABASE_URL=postgresql://clawloops@postgres/clawloops\n"
            )
        return self._installer("install", *command, *more)

    def change(self, settings: Mapping[str, str]) -> None:
        """Writes settings as docs/operations.md says: into DATA/.env, then ./install.sh again."""
        lines = (self.data / ".env").read_text().splitlines()
        kept = [line for line in lines if line.split("=", 1)[0] not in settings]
        (self.data / ".env").write_text("\n".join([*kept, *(f"{k}={v}" for k, v in settings.items())]) + "\n")
        self.install()

    def uninstall(self, *more: str) -> str:
        """Runs ./install.sh uninstall, and forgets nothing that this object knew about the install."""
        _ = self.id
        return self._installer("uninstall", "./install.sh", "uninstall", "--data", str(self.data), *more)

    def _installer(self, name: str, *command: str) -> str:
        until = time.monotonic() + INSTALL_LIMIT_S
        while True:
            done = subprocess.run(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=INSTALL_LIMIT_S,
                text=True,
                check=False,
            )
            self.log.mkdir(parents=True, exist_ok=True)
            with (self.log / f"{name}.log").open("a") as log:
                log.write(f"$ {' '.join(command)}\n{done.stdout}\n[{done.returncode}]\n\n")
            if done.returncode == 0:
                return done.stdout
            # Somebody else may be installing on this machine: its lock is not a failure of ours.
            assert "another install.sh is at work" in done.stdout and time.monotonic() < until, (
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}"
            )
            time.sleep(3)

    def compose(self, *command: str) -> str:
        """Compose on this install, from the checkout and with the settings that install.sh wrote."""
        settings = [f"{name}={self.settings.get(name, '')}" for name in COMPOSE_SETTINGS]
        has_v2 = "compose version" in run("docker", "compose", "version", check=False).lower()
        program = ["docker", "compose"] if has_v2 else ["docker-compose"]
        return run("env", *settings, *program, "--env-file", str(self.data / ".env"), *command, limit_s=120)

    @property
    def setup_link(self) -> str:
        found = LINK.search(self.printed)
        assert found, f"install.sh printed no set-up link:\n{self.printed[-3000:]}"
        return found[0]

    # --- what it made

    @cached_property
    def settings(self) -> dict[str, str]:
        lines = (self.data / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    @cached_property
    def id(self) -> str:
        return self.settings["CLAWLOOPS_INSTALL_ID"]

    @property
    def secret_files(self) -> list[Path]:
        """Every file that only root and its one user may read: the master key, internal keys, private keys."""
        found = [each for part in ("secrets", "keys", "authority") for each in sorted((self.data / part).iterdir())]
        return found + sorted((self.data / "traefik" / "dynamic").glob("certificate.yml"))

    @property
    def base(self) -> str:
        return self.mode.domain or "clawloops.localhost"

    @property
    def origin(self) -> str:
        if self.mode.domain:
            return f"https://{self.base}:{self.https_port}"
        return f"http://{self.base}:{self.http_port}"

    def service(self, name: str) -> str:
        """The container of a Compose service, "" when this install has none."""
        project, part = (
            f"label=com.docker.compose.project=clawloops-{self.id}",
            f"label=com.docker.compose.service={name}",
        )
        return docker("ps", "-aq", "--filter", project, "--filter", part).strip()

    def runtime(self, runtime_id: str) -> str:
        return f"clawloops-{self.id}-u-{runtime_id}"

    def containers(self) -> dict[str, tuple[str, str]]:
        """Name → (id, time of its last start) of every container of this install."""
        ids = docker("ps", "-aq", "--no-trunc", "--filter", f"label=clawloops.install={self.id}").split()
        inspected = json.loads(docker("inspect", *ids)) if ids else []
        return {each["Name"].lstrip("/"): (each["Id"], each["State"]["StartedAt"]) for each in inspected}

    def leftovers(self, kind: str) -> list[str]:
        """Names of this install's containers, networks or volumes."""
        field = "{{.Name}}" if kind != "container" else "{{.Names}}"
        every = ["-a"] if kind == "container" else []
        found = docker(kind, "ls", *every, "--filter", f"label=clawloops.install={self.id}", "--format", field)
        return sorted(found.split())

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Reads or changes the store behind the appliance's back: for clocks that no test can wait for."""
        if self.mode.postgresql:
            for value in values:
                sql = sql.replace("?", "'" + str(value).replace("'", "''") + "'", 1)
            psql = (
                "PGPASSWORD=$(cat /run/secrets/postgres-password) psql -h 127.0.0.1 -U clawloops --csv -f - clawloops"
            )
            printed = docker("exec", "-i", self.service("postgres"), "sh", "-c", psql, stdin=sql.encode())
            return list(csv.DictReader(io.StringIO(printed)))
        with sqlite3.connect(self.data / "control" / "clawloops.db", timeout=20) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values).fetchall()]

    def gateway_of(self, network: str) -> str:
        """The host's own address on one of this install's networks: containers on it reach a test's server there."""
        (found,) = json.loads(docker("network", "inspect", f"clawloops-{self.id}_{network}"))
        address: str = found["IPAM"]["Config"][0].get("Gateway") or found["IPAM"]["Config"][0]["Subnet"]
        return address if "/" not in address else re.sub(r"\.\d+/\d+$", ".1", address)

    def certificate(self) -> bytes:
        """The install's own CA, as its sign-in page offers it to a browser that does not trust it yet."""
        to_here = f"{self.base}:{self.https_port}:127.0.0.1"
        text = run("curl", "--silent", "--fail", "--insecure", "--resolve", to_here, f"{self.origin}/ca.crt")
        assert text.startswith("-----BEGIN CERTIFICATE-----"), text[:200]
        return text.encode()

    def wait_for_litellm(self) -> None:
        """LiteLLM listens ten seconds after install.sh is done. No person gets to its form sooner; a test does."""
        connect = "import socket; socket.create_connection(('litellm', 4000), 2)"
        until = time.monotonic() + 90
        while "Error" in docker("exec", self.service("clawloops"), "python3", "-c", connect, check=False):
            assert time.monotonic() < until, docker("logs", "--tail", "50", self.service("litellm"))
            time.sleep(0.5)

    def keep_logs(self) -> None:
        """Writes the log of each container into the artefacts."""
        self.log.mkdir(parents=True, exist_ok=True)
        for name in self.containers():
            (self.log / f"{name.removeprefix(f'clawloops-{self.id}-')}.log").write_text(
                docker("logs", "--tail", "5000", name, check=False)
            )

    def forget(self) -> None:
        """Leaves nothing of this install on the machine, whatever state it is in."""
        if self.data.exists():
            self.keep_logs()
            self.uninstall("--purge")
            shutil.rmtree(self.data, ignore_errors=True)
