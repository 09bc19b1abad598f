"""A real container registry on loopback, for what is pulled from one: images, and models of Ollama."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry, empty, on a free port of loopback (which Docker trusts without TLS)."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail(
            "docker-registry is not installed; tests/run does that: apt-get install docker-registry", pytrace=False
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/blobs}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    log = (tmp_path / "registry.log").open("wb")
    server = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                    break
            assert server.poll() is None and time.monotonic() < until, (tmp_path / "registry.log").read_text()
            time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        log.close()
