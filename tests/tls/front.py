"""A real Traefik on a loopback address of its own, configured by install.sh's own functions."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from cryptography import x509

from clawloops.bench.stage import newest
from clawloops.control.certificates import Certificates
from clawloops.model.certificate import Tls

ROOT = Path(__file__).resolve().parents[2]
BASE = "claw.test"
HTTP, HTTPS = 8080, 8443
_WAIT_S = 25.0

# What install.sh does between asking and starting, without Docker and for a folder of the test's own.
_RENDER = """
set -Eeuo pipefail
umask 022
TLS='' EMAIL='' DIRECTORY='' ACME_CA='' DNS_PROVIDER='' DNS_CREDENTIALS='' CERTIFICATE='' KEY='' TLS_FOLDER=''
DOMAIN='' REGISTRY='' HTTP_PORT='' HTTPS_PORT='' WITHOUT_OLLAMA=''
for part in say settings checks docker images tls start; do . "$ROOT/install.d/$part.sh"; done
ACME_CA=$1
read_settings
make_data
make_tls
render_traefik
"""


class Front:
    """`data`: the data folder. Speaks HTTP at 8080 and HTTPS at 8443 of `address`."""

    def __init__(self, client: docker.DockerClient, data: Path) -> None:
        self.data = data
        self.install_id = secrets.token_hex(4)
        self.address = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(254) + 1}.{secrets.randbelow(254) + 1}"
        self.name = f"clawloops-{self.install_id}-traefik"
        self._image = newest(client, "clawloops/traefik")
        assert self._image, "there is no image of Traefik here; ./install.sh images makes it"

    def render(self, tls: Tls, *, authority: Path | None = None, **settings: object) -> None:
        """As a run of install.sh would leave the data folder. `authority`: what --acme-ca names."""
        values: dict[str, object] = {
            "INSTALL_ID": self.install_id,
            "BASE": BASE,
            "TLS": tls.value,
            "EDGE_ADDRESS": self.address,
            "RUNTIME_POOL": "10.201.0.0/19",
            "HTTPS_PORT": HTTPS,
            **settings,
        }
        self.data.mkdir(exist_ok=True)
        (self.data / ".env").write_text("".join(f"CLAWLOOPS_{name}={value}\n" for name, value in values.items()))
        environ = {"PATH": os.environ["PATH"], "ROOT": str(ROOT), "DATA": str(self.data), "TMP": str(self.data)}
        words = ["bash", "-c", _RENDER, "render", str(authority or "")]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def hurry(self) -> None:
        """What could not be had is tried again after two seconds, not after two minutes."""
        script = self.data / "traefik" / "run.sh"
        text = script.read_text()
        assert "pause=120" in text
        script.write_text(text.replace("pause=120", "pause=2"))

    @contextmanager
    def running(self) -> Iterator[None]:
        folders = {"traefik": "/etc/traefik:ro", "acme": "/acme", "tls": "/tls"}
        if "certificatesResolvers" not in (self.data / "traefik" / "traefik.yml").read_text():
            del folders["acme"]
        mounts = [word for name, target in folders.items() for word in ("-v", f"{self.data}/{name}:{target}")]
        words = ["docker", "run", "-d", "--name", self.name, "--network", "host", "--init", "--read-only"]
        words += ["--cap-drop", "ALL", "--label", "clawloops.managed=true", *mounts]
        words += ["-v", "/var/run/docker.sock:/run/guard/routes/docker.sock:ro"]
        words += ["--tmpfs", "/tmp", "--tmpfs", "/etc/traefik/dynamic/again"]
        words += ["--entrypoint", "/bin/sh", self._image, "/etc/traefik/run.sh"]
        subprocess.run(words, check=True, capture_output=True)
        try:
            until = time.monotonic() + _WAIT_S
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex((self.address, HTTPS)) == 0:
                        break
                assert time.monotonic() < until, self.log()
                time.sleep(0.05)
            yield
        finally:
            subprocess.run(["docker", "rm", "-f", self.name], check=True, capture_output=True)

    def log(self) -> str:
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def started_at(self) -> str:
        """Also how often it was started anew."""
        words = ["docker", "inspect", "-f", "{{.State.StartedAt}} {{.RestartCount}}", self.name]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    # --- what a browser sees

    def certificates(self, tls: Tls) -> Certificates:
        """What the control plane of this box would look through."""
        return Certificates(tls, BASE, address=self.address, problem=self.data / "tls" / "problem")

    def shown(self, host: str, context: ssl.SSLContext) -> str:
        """The certificate for a host in PEM form. Raises ssl.SSLError where a browser would not go on."""
        with (
            socket.create_connection((self.address, HTTPS), 5) as raw,
            context.wrap_socket(raw, server_hostname=host) as done,
        ):
            return ssl.DER_cert_to_PEM_cert(done.getpeercert(binary_form=True) or b"")

    def wait_for(
        self, host: str, trusting: Path, *, other_than: str = "", within_s: float = _WAIT_S
    ) -> x509.Certificate:
        """The first certificate that a browser which trusts these authorities takes."""
        until = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError):  # refused, or no authority there yet
                found = self.shown(host, ssl.create_default_context(cafile=trusting))
                if found != other_than:
                    return x509.load_pem_x509_certificate(found.encode())
            assert time.monotonic() < until, f"no new certificate for {host}:\n{self.log()[-4000:]}"
            time.sleep(0.1)

    def headers(self, host: str) -> dict[str, str]:
        """What comes with the answer for a host's first page, once Traefik serves it."""
        until = time.monotonic() + _WAIT_S
        anything = ssl.create_default_context()
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((self.address, HTTPS), 5) as raw,
                anything.wrap_socket(raw, server_hostname=host) as done,
            ):
                done.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                head = b"".join(iter(lambda: done.recv(65536), b"")).decode().partition("\r\n\r\n")[0].splitlines()
                if " 404 " not in head[0]:
                    return dict(line.split(": ", 1) for line in head[1:])
            assert time.monotonic() < until, self.log()
            time.sleep(0.1)

    # --- the keeper of certificates

    @contextmanager
    def keeper(self, tls: Tls, **settings: object) -> Iterator[None]:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "CLAWLOOPS_INSTALL_ID": self.install_id,
            "CLAWLOOPS_DATA": str(self.data),
            "CLAWLOOPS_BASE": BASE,
            "CLAWLOOPS_TLS": tls.value,
            **{f"CLAWLOOPS_{name}": str(value) for name, value in settings.items()},
        }
        with (self.data / "keeper.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "clawloops.certificates"], env=environ, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(10) == 0, (self.data / "keeper.log").read_text()


@contextmanager
def opened_front(client: docker.DockerClient, folder: Path) -> Iterator[Front]:
    front = Front(client, folder / "data")
    try:
        yield front
    finally:
        shutil.rmtree(front.data, ignore_errors=True)
