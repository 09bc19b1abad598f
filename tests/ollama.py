"""A real Ollama, of our own image, and a model of three megabytes for it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from clawloops.bench.peers import free_port
from clawloops.bench.stage import newest
from clawloops.control.library import Library
from clawloops.gateway.ollama import Ollama
from clawloops.model.account import User
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


async def pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


class Line:
    """A slow line to a registry: half a megabyte passes, and the rest waits for `open`.

    Ollama wants a registry that sends it elsewhere for its layers, as those of Ollama and Hugging Face do.
    """

    def __init__(self, registry: str, session: aiohttp.ClientSession) -> None:
        self.open = asyncio.Event()
        self.passed = 0
        self.address = ""
        self._registry = registry
        self._session = session

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Line]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._pass)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"localhost:{runner.addresses[0][1]}"
        yield self
        await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if "/blobs/" in request.path and request.host == self.address:
            raise web.HTTPTemporaryRedirect(f"http://{self.address.replace('localhost', '127.0.0.1')}{request.path}")
        sent = {name: request.headers[name] for name in ("Accept", "Range") if name in request.headers}
        async with self._session.get(f"http://{self._registry}{request.path}", headers=sent) as found:
            told = ("Content-Type", "Content-Length", "Content-Range")
            kept = {name: found.headers[name] for name in told if name in found.headers}
            reply = web.StreamResponse(status=found.status, headers=kept)
            await reply.prepare(request)
            async for data in found.content.iter_chunked(65536):
                if self.passed > 500_000:
                    await self.open.wait()
                self.passed += len(data)
                await reply.write(data)
            return reply


@dataclass(frozen=True)
class Shelf:
    """An Ollama that is connected to a library."""

    library: Library
    session: aiohttp.ClientSession
    url: str
    backend_id: str
    owner: User

    async def bring(self, gguf: Path, name: str = "tiny") -> None:
        await self.library.import_file(self.backend_id, name, pieces(gguf.read_bytes()), by=self.owner)

    async def publish(self, registry: str, gguf: Path, name: str) -> None:
        """Put the tiny model into the registry as others are there, without a context of its own, and forget it."""
        await self.bring(gguf)
        digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
        bare = {"model": "tiny", "files": {"model.gguf": f"sha256:{digest}"}, "stream": False}
        async with self.session.post(f"{self.url}/api/create", json=bare) as answer:
            assert answer.status == 200, await answer.text()
        full = f"{registry}/{name}"
        for path, body in (("copy", {"source": "tiny", "destination": full}),
                           ("push", {"model": full, "insecure": True, "stream": False})):  # fmt: skip
            async with self.session.post(f"{self.url}/api/{path}", json=body) as answer:
                assert answer.status == 200, await answer.text()
                assert b'"error"' not in await answer.read()
        for each in ("tiny", full):
            await Ollama(self.session, self.url).remove(each)
