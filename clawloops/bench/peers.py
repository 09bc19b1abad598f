"""The processes that a benchmark compares: nginx as upstream and as peer, LiteLLM as peer, and our own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clawloops.bench import gate
from clawloops.errors import SetupError

_ANSWER = (
    '{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":200,"completion_tokens":150,"total_tokens":350}}'
) % ("word " * 150)
_NGINX = """
daemon off; worker_processes 1; error_log stderr crit; pid {folder}/{name}.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
{http}
}}
"""
_UPSTREAM = """
  server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json; return 200 '{answer}'; }}
"""
_PEER = """
  map $http_authorization $key {{ default ""; "Bearer {token}" "Bearer {key}"; }}
  upstream behind {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization $key;
    proxy_buffering {buffering};
    location / {{ if ($key = "") {{ return 401; }} proxy_pass http://behind; }}
  }}
"""
_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params: {{ model: openai/{model}, api_base: "http://127.0.0.1:{upstream}/v1", api_key: {key} }}
general_settings: {{ master_key: {token} }}
litellm_settings: {{ telemetry: false }}
"""


def tool(name: str) -> str:
    """Where a program is that the benchmark needs. Raises SetupError."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise SetupError(f"{name} is needed for this benchmark: apt-get install nginx-light wrk util-linux")
    return found


def core_of(role: int) -> int:
    """The core of what is measured (0), and of the load with its upstream (1)."""
    return sorted(os.sched_getaffinity(0))[role]


def free_port() -> int:
    """One that is free on every address, and below those that Linux gives to whoever connects (from 32768).

    Between this look and its use, nobody is given it by chance, nor picks it here: this process comes back to a port
    once it has been through all of its own, another one never. Raises SetupError.
    """
    for port in itertools.islice(_own_ports(), 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise SetupError("of 200 ports, none is free")


@functools.cache
def _own_ports() -> Iterator[int]:
    """Round and round those that no other process of this network picks from, as long as this one lives.

    Where too many do, all of them.
    """
    ports = _claimed()
    return itertools.cycle(random.sample(ports, len(ports)))


def _claimed() -> range:
    for number in random.sample(range(24), 24):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0clawloops-ports-{number}")  # abstract: of this network namespace, as ports are
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return range(20_000 + 500 * number, 20_500 + 500 * number)
    return range(20_000, 32_000)


_claims: list[socket.socket] = []


@dataclass
class Peer:
    """One process under test, or beside it."""

    name: str
    port: int
    ready_s: float  # from its start until it took a connection
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """CPU time of it and its children so far, seconds."""
        return sum(_cpu_s(pid) for pid in self._pids())

    def memory_mb(self) -> float:
        """MiB (proc(5), status: VmRSS)."""
        lines = [line for pid in self._pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]


def _cpu_s(pid: int) -> float:
    """Of all threads that live (schedstat counts nanoseconds; stat's ticks are too coarse for a short stream)."""
    return sum(int(each.read_text().split()[0]) for each in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


class Cast:
    """Starts them, each on its own core where there are two, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Peer] = []

    def close(self) -> None:
        for each in reversed(self._started):
            each.stop()

    async def upstream(self) -> Peer:
        """Answers every call at once with 1 KB of JSON."""
        port = free_port()
        text = _UPSTREAM.format(port=port, answer=_ANSWER)
        return await self.start("upstream", self.nginx_command("upstream", text), core=1, port=port)

    async def source(self, chunks: int, gap_ms: float) -> Peer:
        """Streams."""
        command = [sys.executable, "-m", "clawloops.bench.source", str(chunks), str(gap_ms)]
        return await self.start("source", command, core=1)

    async def nginx(self, upstream: Peer, *, buffering: bool = True) -> Peer:
        port = free_port()
        text = _PEER.format(
            port=port,
            upstream=upstream.port,
            token=gate.TOKEN,
            key=gate.KEY,
            buffering="on" if buffering else "off",
        )
        return await self.start("nginx", self.nginx_command(f"peer-{port}", text), core=0, port=port)

    async def clawloops(self, upstream: Peer) -> Peer:
        data = self._folder / f"data-{upstream.port}"
        data.mkdir()
        command = [sys.executable, "-m", "clawloops.bench.gate", upstream.url, str(data)]
        return await self.start("clawloops", command, core=0)

    async def litellm(self, program: str, upstream: Peer) -> Peer:
        port, config = free_port(), self._folder / "litellm.yaml"
        config.write_text(
            _LITELLM.format(model=gate.MODEL, upstream=upstream.port, key=gate.KEY, token=f"sk-{gate.TOKEN}")
        )
        command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self._folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION", "NO_DOCS": "True", "DISABLE_ADMIN_UI": "True",
        }  # fmt: skip
        return await self.start("litellm", command, core=0, port=port, environment=environment, seconds=120)

    def journal_of(self, upstream: Peer) -> Path:
        return self._folder / f"data-{upstream.port}" / gate.JOURNAL

    def nginx_command(self, name: str, text: str) -> list[str]:
        """To start an nginx with `text` as its http block's content."""
        config = self._folder / f"{name}.conf"
        config.write_text(_NGINX.format(folder=self._folder, name=name, http=text))
        return [tool("nginx"), "-c", str(config), "-p", str(self._folder)]

    async def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int,
        port: int = 0,
        environment: dict[str, str] | None = None,
        seconds: float = 30,
    ) -> Peer:
        """`port`: where it will listen; 0 when it prints that. Raises SetupError with the end of what it said."""
        log = self._folder / f"{name}.log"
        began = time.monotonic()
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: ASYNC220  # it takes a millisecond, and nothing else runs yet
                [tool("taskset"), "-c", str(core_of(core)), *command],
                stdout=output if port else subprocess.PIPE,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        peer = Peer(name, port, 0.0, process)
        self._started.append(peer)
        if not port and process.stdout is not None:
            peer.port = int(await asyncio.to_thread(process.stdout.readline) or 0)
        while not _listens(peer.port):
            if process.poll() is not None or time.monotonic() - began > seconds:
                raise SetupError(f"{name} does not start; it said:\n{log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(0.01)
        peer.ready_s = time.monotonic() - began
        return peer


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return bool(port) and probe.connect_ex(("127.0.0.1", port)) == 0
