"""An install of the benchmark's own on the real Docker Engine: edge, Traefik, data folder; all of it is swept up."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ipaddress
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import docker
import docker.errors

from clawloops.bench import report
from clawloops.bench.report import Figure
from clawloops.errors import SetupError
from clawloops.runtimes import names
from clawloops.runtimes.client import Engine
from clawloops.runtimes.spec import Install

ROOT = Path(__file__).resolve().parents[2]
BASE = "clawloops.localhost"
_BY_INSTALL = re.compile(r":[0-9a-f]{12}$")
_CLONE_NEWNET = 0x40000000  # setns(2)

# Same user, paths and port as the image that it is made from; /startupz, a page, and "idle" to whoever asks.
_STANDIN = r"""FROM {image}
USER root
RUN printf '%s\n' \
 'use IO::Socket::INET; $SIG{{TERM}} = sub {{ exit 0 }}; $SIG{{PIPE}} = "IGNORE";' \
 'my $s = IO::Socket::INET->new(LocalPort => 18789, Listen => 16, ReuseAddr => 1) or die $!;' \
 'while (1) {{ my $c = $s->accept or next; my ($q, $n) = (scalar(<$c>) // "", 0);' \
 'while (my $l = <$c>) {{ last if $l =~ /^\r?\n$/; $n = $1 if $l =~ /^content-length:\s*(\d+)/i }}' \
 'my $b = ""; read($c, $b, $n) if $n; my $a = "<!doctype html>the UI";' \
 '$a = q({{"status":"started"}}) if $q =~ m(^GET /startupz);' \
 '$a = q({{"ok":true,"payload":{{"status":"ready","jobs":[],"channelAccounts":{{}}}}}}) if $q =~ m(^POST );' \
 'print $c "HTTP/1.1 200 x\r\nContent-Length: " . length($a) . "\r\nConnection: close\r\n\r\n$a"; close $c }}' \
 > /opt/standin.pl
USER node
ENTRYPOINT ["perl", "/opt/standin.pl"]
"""


def run(measure: Callable[[], Awaitable[list[Figure]]], *, as_json: bool) -> int:
    """Measure on a stage, and print what was found; SIGTERM and Ctrl-C sweep up as well.

    0 when every gate holds, 1 when one does not, 130 when it was stopped. Raises SetupError.
    """
    if os.geteuid() != 0:
        raise SetupError("the benchmark makes networks and looks into their namespaces: run it as root")

    async def stoppable() -> list[Figure]:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await measure()

    try:
        figures = asyncio.run(stoppable())
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped; what it had made is swept up", file=sys.stderr, flush=True)
        return 130
    except (docker.errors.DockerException, OSError) as error:
        raise SetupError(
            f"it could not be measured: {error}; `docker info` shows whether the Engine is well"
        ) from error
    print(report.as_json(figures) if as_json else report.table(figures))
    return 0 if report.holds(figures) else 1


class Stage:
    """`peer_id` labels what is only compared with: no control plane ever takes it for its own."""

    def __init__(
        self, client: docker.DockerClient, *, traefik: str, database: str = "", password_file: str = ""
    ) -> None:
        """`database`: an empty PostgreSQL; "" for SQLite in the stage's own folder."""
        self.docker = client
        self.engine = Engine()
        self.traefik = traefik
        self.install_id, self.peer_id = secrets.token_hex(4), secrets.token_hex(4)
        self.edge = f"clawloops-{self.install_id}-edge"
        self.data = Path(tempfile.mkdtemp(prefix="clawloops-bench-", dir="/var/tmp"))  # made 0700
        self.pool, self._spare = _free(client)
        self.database, self.password_file = database or f"sqlite:///{self.data}/clawloops.db", password_file
        self._swap = self.data / "swap"
        self._guard: subprocess.Popen[bytes] | None = None
        self._standin = f"clawloops/bench-standin:{self.install_id}"

    async def open(self, image: str) -> None:
        """`image`: any with a shell, for the edge."""
        for folder in ("keys", "traefik/dynamic"):
            (self.data / folder).mkdir(parents=True, exist_ok=True)
        master = self.data / "keys" / "master.key"
        master.touch(0o600)
        master.write_text(secrets.token_hex(32))
        await asyncio.to_thread(self._make_edge, image)

    async def close(self) -> None:
        try:
            await asyncio.to_thread(self._sweep)
        finally:
            if self._guard is not None:
                self._guard.kill()
                await asyncio.to_thread(self._guard.wait)
            self.engine.close()
            shutil.rmtree(self.data, ignore_errors=True)

    def subnet(self) -> str:
        """One that no runtime of the control plane has."""
        return str(self._spare.pop())

    def settings(self, *, image: str, **changes: object) -> dict[str, str]:
        """The environment of a control plane on this stage."""
        values = {
            "install_id": self.install_id,
            "data": self.data,
            "base": BASE,
            "runtime_pool": self.pool,
            "openclaw_image": image,
            "database_url": self.database,
            "database_password_file": self.password_file,
            **changes,
        }
        return {"PATH": os.environ["PATH"], **{f"CLAWLOOPS_{key.upper()}": str(each) for key, each in values.items()}}

    def install(self, image: str, install_id: str) -> Install:
        return Install(install_id=install_id, data=str(self.data), edge=self.edge, image=image)

    @property
    def _traefik_name(self) -> str:
        return f"clawloops-{self.install_id}-traefik"

    @property
    def edge_pid(self) -> int:
        return int(self.docker.api.inspect_container(self.edge)["State"]["Pid"])

    @property
    def front_address(self) -> str:
        row = self.docker.api.inspect_container(self.edge)["NetworkSettings"]["Networks"]
        return str(row[f"clawloops-{self.install_id}-front"]["IPAddress"])

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
        """Speaks from the edge's network namespace, where Traefik, the control plane and every runtime are near."""
        pid = self.edge_pid
        connector = aiohttp.TCPConnector(socket_factory=lambda info: _socket_in(pid, info))
        async with aiohttp.ClientSession(
            connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), **options
        ) as session:
            yield session

    def runtimes(self) -> dict[str, dict[str, Any]]:
        """Every container of a runtime as Docker inspects it, by name."""
        rows = self.docker.api.containers(
            all=True, filters={"label": [f"{names.INSTALL}={self.install_id}", names.RUNTIME]}
        )
        return {row["Names"][0].lstrip("/"): self.docker.api.inspect_container(row["Id"]) for row in rows}

    def started_at(self, runtime_id: str) -> float:
        """When a runtime's container was last started, Unix seconds."""
        row = self.docker.api.inspect_container(names.container(self.install_id, runtime_id))
        return datetime.fromisoformat(str(row["State"]["StartedAt"])).timestamp()

    def restart_traefik(self) -> None:
        """As `docker restart` does; returns when it runs again."""
        self.docker.api.restart(self._traefik_name, timeout=10)

    def nudge(self) -> Callable[[], None]:
        """A deed in Docker after which the control plane looks at every runtime; to be done as often as wanted."""
        made = self.docker.containers.create(
            self.edge_image, labels={names.INSTALL: self.install_id}, name=f"clawloops-bench-{secrets.token_hex(4)}"
        )
        return lambda: made.rename(f"clawloops-bench-{secrets.token_hex(4)}")

    def standin(self, image: str) -> str:
        """A light image that answers as OpenClaw does, made on top of `image`'s own layers."""
        recipe = BytesIO(_STANDIN.format(image=image).encode())
        self.docker.images.build(fileobj=recipe, rm=True, tag=self._standin)
        return self._standin

    async def swap_on(self, size_mb: int) -> str:
        """A swap file of the benchmark's own; returns why there is none, "" when there is."""
        await asyncio.to_thread(self._swap.touch, 0o600)
        for command in (("fallocate", "-l", f"{size_mb}M"), ("mkswap", "-q"), ("swapon",)):
            child = await asyncio.create_subprocess_exec(
                *command, str(self._swap), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            _, said = await child.communicate()
            if child.returncode:
                return said.decode().strip()
        return ""

    def _make_edge(self, image: str) -> None:
        self.edge_image = image
        label = {names.MANAGED: "true", names.INSTALL: self.install_id}
        front = f"clawloops-{self.install_id}-front"
        pool = docker.types.IPAMPool(subnet=self.subnet())
        self.docker.networks.create(front, ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels=label)
        self.docker.containers.run(
            image,
            entrypoint=["sleep", "infinity"],
            name=self.edge,
            network=front,
            labels=label,
            init=True,
            detach=True,
            sysctls={"net.ipv4.ip_forward": "0"},
        )
        if self.traefik:
            self._start_guard(image)
            self._run_traefik(label)

    def _start_guard(self, image: str) -> None:
        """Shows Traefik its routes, as in the appliance. The control plane does without it here: the guard would have
        to know each part's own limits."""
        folder = self.data / "guard"
        for each in ("engine", "routes"):
            (folder / each).mkdir(parents=True)
        command = [sys.executable, "-m", "clawloops.guard"]
        with (self.data / "guard.log").open("ab") as log:
            self._guard = subprocess.Popen(
                command, cwd=ROOT, env=self.settings(image=image, guard=folder), stderr=log, start_new_session=True
            )
        until = time.monotonic() + 10
        while not (folder / "routes" / "docker.sock").exists():
            if time.monotonic() > until or self._guard.poll() is not None:
                raise SetupError(f"the guard does not start: {(self.data / 'guard.log').read_text()[-1000:]}")
            time.sleep(0.02)

    def _run_traefik(self, label: dict[str, str]) -> None:
        folder = self.data / "traefik"
        for source, target in (("traefik.yml", "traefik.yml"), ("dynamic.yml", "dynamic/clawloops.yml")):
            text = "".join(
                line
                for line in (ROOT / "traefik" / source).read_text().splitlines(keepends=True)
                if not line.startswith("#https")
            )
            for name, value in (
                ("EDGE_ADDRESS", self.front_address),
                ("INSTALL_ID", self.install_id),
                ("BASE", BASE),
                ("RUNTIME_POOL", self.pool),
                ("ENTRYPOINT", "web"),
                ("WORKSPACE_HOST", rf"^[a-z0-9-]+[.]ws[.]{BASE.replace('.', '[.]')}$"),
            ):
                text = text.replace(f"@{name}@", str(value))
            (folder / target).write_text(text)
        self.docker.containers.run(
            self.traefik,
            entrypoint=["traefik", "--configFile=/etc/traefik/traefik.yml"],
            name=self._traefik_name,
            network_mode=f"container:{self.edge}",
            labels=label,
            init=True,
            detach=True,
            volumes=[f"{folder}:/etc/traefik:ro", f"{self.data}/guard/routes:/run/guard/routes:ro"],
        )

    def _sweep(self) -> None:
        for install_id in (self.install_id, self.peer_id):
            mine: dict[str, Any] = {"label": f"{names.INSTALL}={install_id}"}
            with ThreadPoolExecutor(8) as pool:
                _all(
                    pool,
                    (each.remove for each in self.docker.containers.list(all=True, filters=mine, ignore_removed=True)),
                    force=True,
                )
                _all(pool, (each.remove for each in self.docker.networks.list(filters=mine)))
                _all(pool, (each.remove for each in self.docker.volumes.list(filters=mine)), force=True)
        with contextlib.suppress(docker.errors.ImageNotFound):
            self.docker.images.remove(self._standin)
        if self._swap.exists():
            os.system(f"swapoff {self._swap} 2>/dev/null")  # noqa: S605  # a path of our own
            self._swap.unlink()


def newest(client: docker.DockerClient, repository: str) -> str:
    """The newest image of a repository on this host, by the tag that install.sh gives; "" when there is none."""
    images = sorted(client.images.list(repository), key=lambda each: str(each.attrs["Created"]), reverse=True)
    tags = [tag for each in images for tag in each.tags if tag.startswith(f"{repository}:")]
    return next((tag for tag in tags if _BY_INSTALL.search(tag)), next(iter(tags), ""))


def _all(pool: ThreadPoolExecutor, removals: Iterable[Callable[..., None]], **how: bool) -> None:
    for done in [pool.submit(each, **how) for each in removals]:
        with contextlib.suppress(docker.errors.NotFound):
            done.result()


def _free(client: docker.DockerClient) -> tuple[ipaddress.IPv4Network, list[ipaddress.IPv4Network]]:
    """A pool for 256 runtimes that no network of this host uses, and subnets for all else."""
    taken = [
        ipaddress.IPv4Network(pool["Subnet"])
        for network in client.networks.list()
        for pool in network.attrs["IPAM"]["Config"] or []
        if ":" not in pool.get("Subnet", ":")
    ]
    pools = [ipaddress.IPv4Network(f"10.{second}.{third}.0/20") for second in (217, 218) for third in range(0, 256, 16)]
    free = [pool for pool in pools if not any(pool.overlaps(each) for each in taken)]
    if not free:
        raise SetupError("every address range of the benchmark is in use; remove networks that nobody needs any more")
    first, second = random.choice(free).subnets(prefixlen_diff=1)  # noqa: S311  # two benchmarks rarely meet
    return first, list(second.subnets(new_prefix=29))


def _socket_in(pid: int, info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that lives in another process's network namespace, whoever uses it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{pid}/ns/net").open() as theirs:
        for each in (theirs, ours):
            if libc.setns(each.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            if each is theirs:
                made = socket.socket(info[0], info[1], info[2])
    return made
