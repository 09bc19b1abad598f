"""Let's Encrypt's own test authority (Pebble) on loopback, with a name server and a DNS provider of lego's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import docker.errors
from cryptography.hazmat.primitives.serialization import Encoding

from clawloops.bench.peers import free_port
from clawloops.certificates.authority import new_authority
from tests.tls.front import BASE, HTTP, Front, opened_front

HERE = Path(__file__).resolve().parents[1] / "pebble"
PASSWORD = "not-to-be-seen-anywhere"
HOST = f"brave-otter.ws.{BASE}"
RENEWED_WITHIN_S = 20 * 60  # of the end, with certificates of less than a day; Traefik looks once a minute
VALID_S = RENEWED_WITHIN_S + 30


def pebble_image(client: docker.DockerClient, folder: Path) -> str:
    """Pebble's tag: built once for each content, then reused."""
    tag = f"clawloops/pebble:{hashlib.sha256((HERE / 'Dockerfile').read_bytes()).hexdigest()[:12]}"
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        shutil.copy(HERE / "Dockerfile", folder)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "ca.crt")
        arguments = {name: os.environ[name] for name in ("GOPROXY",) if name in os.environ}
        client.images.build(path=str(folder), tag=tag, rm=True, network_mode="host", buildargs=arguments)
    return tag


class Authority:
    """`directory`: its address; `own_ca`: what signed that; `root`: what it signs certificates of others with."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._front = address
        self._port, self._management, self._names, self._dns = (free_port() for _ in range(4))
        self.directory = f"https://localhost:{self._port}/dir"
        self.resolver = f"127.0.0.1:{self._dns}"
        self.own_ca, self.root = folder / "own-ca.pem", folder / "root.pem"

    @contextmanager
    def running(self, image: str, *, valid_s: int) -> Iterator[None]:
        made = new_authority("localhost", now=datetime.now(UTC))
        self.own_ca.write_bytes(made.certificate.public_bytes(Encoding.PEM))
        pair = made.sign("localhost", now=datetime.now(UTC))
        (self._folder / "chain.pem").write_text(pair.chain)
        (self._folder / "key.pem").write_text(pair.key)
        settings = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": "/work/chain.pem",
            "privateKey": "/work/key.pem",
            "httpPort": HTTP,
            "tlsPort": HTTP + 1,
            "keyAlgorithm": "ecdsa",
            "retryAfter": {"authz": 1, "order": 1},
            "profiles": {"default": {"description": "the only one", "validityPeriod": valid_s}},
        }
        (self._folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
        no_others = [word for name in ("http01", "https01", "tlsalpn01", "doh") for word in (f"-{name}", "")]
        names = ["pebble-challtestsrv", "-dnsserver", self.resolver, "-management", f"127.0.0.1:{self._names}"]
        with (
            self._container(image, [*names, "-defaultIPv4", self._front, "-defaultIPv6", "", *no_others]),
            self._container(image, ["pebble", "-config", "/work/pebble.json", "-dnsserver", self.resolver]),
        ):
            for port in (self._port, self._management, self._names):
                _await(port)
            self.root.write_text(self._ask(f"https://localhost:{self._management}/roots/0"))
            yield

    def lead(self, host: str, address: str) -> None:
        """Let a name lead elsewhere than to the front."""
        self._tell("add-a", {"host": host, "addresses": [address]})

    def lead_back(self, host: str) -> None:
        self._tell("clear-a", {"host": host})

    @contextmanager
    def dns_provider(self) -> Iterator[tuple[str, list[str]]]:
        """The address of an HTTP endpoint that sets TXT records, and the names for which it was asked to."""
        authority, asked = self, list[str]()

        class Provider(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                basic = self.headers.get("Authorization", "")
                is_present = self.path == "/present"
                if is_present:
                    asked.append(sent["fqdn"])
                if basic.startswith("Basic "):
                    path = "set-txt" if is_present else "clear-txt"
                    authority._tell(path, {"host": sent["fqdn"], "value": sent.get("value", "")})
                self.send_response(200 if basic else 401)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: pytest shows what matters."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            server.server_close()

    @contextmanager
    def _container(self, image: str, command: list[str]) -> Iterator[None]:
        name = f"clawloops-test-{secrets.token_hex(4)}"
        words = ["docker", "run", "-d", "--name", name, "--network", "host", "--label", "clawloops.managed=true"]
        words += ["-e", "PEBBLE_VA_NOSLEEP=1", "-v", f"{self._folder}:/work:ro", image, *command]
        subprocess.run(words, check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)

    def _tell(self, path: str, what: dict[str, Any]) -> None:
        body = json.dumps(what).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._names}/{path}", data=body, timeout=5) as answer:
            answer.read()

    def _ask(self, url: str) -> str:
        trusting = ssl.create_default_context(cafile=self.own_ca)
        with urllib.request.urlopen(url, timeout=5, context=trusting) as answer:
            return str(answer.read().decode())


def _await(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at port {port} of loopback")


@dataclass(frozen=True)
class Boxed:
    front: Front
    authority: Authority

    def settings(self, **more: object) -> dict[str, object]:
        known = {"ACME_EMAIL": "ada@claw.test", "ACME_DIRECTORY": self.authority.directory, "ACME_HOURS": 1}
        return {**known, **more}


@contextmanager
def boxed(client: docker.DockerClient, pebble: str, folder: Path) -> Iterator[Boxed]:
    with opened_front(client, folder) as front:
        (folder / "pebble").mkdir()
        authority = Authority(folder / "pebble", front.address)
        with authority.running(pebble, valid_s=VALID_S):
            yield Boxed(front, authority)
