"""Workspaces to copy: made and looked at by a container of the stand-in, as the member's own user would."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from docker.types import Mount

from clawloops.runtimes import names
from clawloops.runtimes.archive import Archive
from tests.standin.place import Place


def archive(place: Place) -> Archive:
    return Archive(place.engine, place.install_id, place.image)


def start(place: Place, runtime_id: str, number: int, script: str, *, user: str = "1000:1000") -> Any:
    """A container that runs a shell script with the volume at /home/node; swept with the place."""
    return place.docker.containers.run(
        place.image,
        entrypoint=["bash", "-c", f"set -e; cd /home/node; {script}"],
        user=user,
        network_mode="none",
        labels={names.MANAGED: "true", names.INSTALL: place.install_id},
        mounts=[Mount("/home/node", names.volume(place.install_id, runtime_id, number))],
        detach=True,
    )


def start_python(place: Place, runtime_id: str, number: int, script: str) -> Any:
    """A Python script with the volume at /mnt, in a container that can be frozen: the host's Python, read-only."""
    return place.docker.containers.run(
        place.image,
        entrypoint=["chroot", "/host", sys.executable, "-c", script],
        user="0:0",
        network_mode="none",
        labels={names.MANAGED: "true", names.INSTALL: place.install_id},
        mounts=[
            Mount("/host", "/", type="bind", read_only=True),
            Mount("/host/mnt", names.volume(place.install_id, runtime_id, number)),
        ],
        detach=True,
    )


async def inside(place: Place, runtime_id: str, number: int, script: str, *, user: str = "1000:1000") -> str:
    """Run it to its end; what it printed."""

    def work() -> str:
        container = start(place, runtime_id, number, script, user=user)
        code = container.wait()["StatusCode"]
        said = container.logs().decode()
        container.remove(force=True)
        assert code == 0, said
        return str(said)

    return await asyncio.to_thread(work)


async def carriers(place: Place) -> list[Any]:
    label = [f"{names.CARRIER}=true", f"{names.INSTALL}={place.install_id}"]
    return await asyncio.to_thread(place.docker.containers.list, all=True, filters={"label": label})


FINGERPRINT = r"""
find . -not -type s -printf '%P|%y|%m|%U:%G|%l|%Ts\n' | sed 's/\.[0-9]*$//' | LC_ALL=C sort
find . -type f -printf '%P|%n links|%s bytes\n' | LC_ALL=C sort
find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
"""
"""Every entry with type, mode, owner, target and time of change, and every file with its links, size and hash.

The Engine's tar carries no sockets, and times in whole seconds.
"""
