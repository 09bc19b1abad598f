"""A real Ollama, of our own image, and a model of three megabytes for it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawloops.bench.peers import free_port
from clawloops.bench.stage import newest
from tests.e2e import tiny_model
from tests.standin.fixtures import docker_client

__all__ = ["docker_client"]


@pytest.fixture(scope="module")
def ollama(docker_client: Any) -> Iterator[str]:
    """Address of one of our own image, empty."""
    image, name, port = newest(docker_client, "clawloops/ollama"), f"ollama-{secrets.token_hex(4)}", free_port()
    subprocess.run(
        ["docker", "run", "-d", "--rm", "--name", name, "--network", "host", "-e", "HOME=/tmp", "-e",
         "OLLAMA_MODELS=/tmp/models", "-e", f"OLLAMA_HOST=127.0.0.1:{port}", image],
        check=True, capture_output=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < until, "Ollama does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("CLAWLOOPS_TEST_ARTIFACTS")
    return tiny_model.make(Path(kept) if kept else tmp_path_factory.mktemp("model")) / "tiny.gguf"
