"""The real LiteLLM between a gateway and the scriptable upstream, run as its image runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clawloops.model.provider import BackendKind
from tests.conftest import ROOT
from tests.gateway.gate import KEY, Gateway, open_gateway
from tests.upstream import Upstream

INTERNAL = "sk-internal-7c1d9e0f"
MODELS = ("small", "tools", "error-401", "error-429", "error-500", "error-400", "cut-2", "slow-200", "hang-2")


@dataclass
class LiteLLM:
    url: str
    log: Path


@pytest.fixture(scope="session")
def litellm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteLLM]:
    venv = Path(os.environ.get("CLAWLOOPS_LITELLM_VENV") or ROOT / ".venv-litellm")
    if not (venv / "bin" / "litellm").exists():
        pytest.fail(f"LiteLLM is not in {venv}: run tests/run, which makes it, or set CLAWLOOPS_LITELLM_VENV")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("litellm") / "litellm.log"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(log.parent),
        "LITELLM_MASTER_KEY": INTERNAL,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "NO_DOCS": "True",
        "DISABLE_ADMIN_UI": "True",
    }
    config = ROOT / "images" / "litellm" / "config.yaml"
    command = [str(venv / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--telemetry", "False"], env=environ, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/health/liveliness", process, log)
        yield LiteLLM(f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, f"LiteLLM ended: {log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"LiteLLM is not ready: {log.read_text()[-2000:]}")


@pytest.fixture
async def behind(litellm: LiteLLM, upstream: Upstream) -> AsyncIterator[Gateway]:
    """A gateway whose models lead through LiteLLM to the scriptable upstream, which stands for a provider."""
    async with open_gateway(upstream, litellm_url=litellm.url, litellm_key=INTERNAL) as gateway:
        for name in MODELS:
            behind_litellm(gateway, name)
        yield gateway
    text = litellm.log.read_text()
    for secret in (KEY, KEY[3:], INTERNAL):
        assert secret not in text


def behind_litellm(gateway: Gateway, name: str, *, provider: str = "openai", url: str | None = None) -> None:
    """Serve a model of the scriptable upstream (or of `url`), which LiteLLM takes for one of `provider`."""
    address = url or f"{gateway.upstream.url}/v1"
    gateway.serve_model(name, kind=BackendKind.LITELLM, provider=provider, url=address)
