"""Traefik in front of nginx as a process of the benchmark's own: the same route twice, with and without ForwardAuth."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import docker.errors

from clawloops.bench.peers import Cast, Peer, free_port
from clawloops.bench.stage import newest
from clawloops.errors import SetupError

_PATIENCE_S = 10
_INSIDE = "/usr/local/bin/traefik"
_GIVEN = ["X-Clawloops-User", "X-OpenClaw-Scopes", "Authorization", "Cookie"]  # as in runtimes/spec.py


@dataclass(frozen=True, slots=True)
class Front:
    """One Traefik, by both of its ports."""

    bare: Peer
    guarded: Peer


async def front(
    cast: Cast, folder: Path, program: str, *, door: Peer, members: Sequence[Mapping[str, str]], behind: Peer
) -> Front:
    """`members`: see `door.py`. Raises SetupError when it does not start."""
    bare, guarded = free_port(), free_port()
    routes = folder / "routes.yml"  # JSON is YAML
    routes.write_text(json.dumps(_routes(door.url, members, behind.url)))
    entries = {name: {"address": f"127.0.0.1:{port}"} for name, port in (("bare", bare), ("guarded", guarded))}
    settings = folder / "traefik.yml"
    settings.write_text(
        json.dumps(
            {
                "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
                "log": {"level": "ERROR"},
                "entryPoints": entries,
                "providers": {"file": {"filename": str(routes)}},
            }
        )
    )
    peer = await cast.start("traefik", [program, f"--configFile={settings}"], core=0, port=guarded)
    await asyncio.to_thread(_wait, bare, members[0]["host"])
    return Front(bare=replace(peer, name="without ForwardAuth", port=bare), guarded=replace(peer, name="with it"))


def _wait(port: int, host: str) -> None:
    """It listens before it has read its routes."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as line:
            line.request("GET", "/", headers={"Host": host})
            if line.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise SetupError("Traefik does not read its routes")


def _routes(door: str, members: Sequence[Mapping[str, str]], behind: str) -> dict[str, object]:
    routers, guards = {}, {}
    for number, member in enumerate(members):
        router = {"rule": f"Host(`{member['host']}`)", "service": "behind"}
        routers[f"bare-{number}"] = {**router, "entryPoints": ["bare"]}
        routers[f"guarded-{number}"] = {**router, "entryPoints": ["guarded"], "middlewares": [f"auth-{number}"]}
        address = door + member["path"]
        guards[f"auth-{number}"] = {
            "forwardAuth": {"address": address, "authResponseHeaders": _GIVEN, "trustForwardHeader": False}
        }
    services = {"behind": {"loadBalancer": {"servers": [{"url": behind}]}}}
    return {"http": {"routers": routers, "middlewares": guards, "services": services}}


def program(folder: Path, named: str) -> str:
    """The Traefik that was named, one on the PATH, or the one in this box's image. Raises SetupError."""
    found = shutil.which(named or "traefik")
    if found is None and not named:
        with contextlib.suppress(docker.errors.DockerException), contextlib.closing(docker.DockerClient()) as client:
            image = newest(client, "clawloops/traefik")
            found = _taken_out(client, image, folder) if image else None
    if found is None:
        raise SetupError("Traefik is needed for this benchmark: `./install.sh images` makes one; or name it: --traefik")
    return found


def _taken_out(client: docker.DockerClient, image: str, folder: Path) -> str:
    container = client.containers.create(image)
    try:
        packed = io.BytesIO(b"".join(container.get_archive(_INSIDE)[0]))
    finally:
        container.remove()
    with tarfile.open(fileobj=packed) as archive:
        archive.extractall(folder, filter="data")
    return str(folder / Path(_INSIDE).name)
