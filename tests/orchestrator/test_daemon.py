"""The Docker daemon is killed and comes back: a daemon of the test's own, never the host's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import docker.errors
import pytest

from clawloops.model.runtime import Phase, Want
from tests.standin.place import Place

pytestmark = [pytest.mark.docker, pytest.mark.limit(240)]


class Daemon:
    """A dockerd with its own data, sockets and network namespace."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = f"unix://{home}/docker.sock"
        self.netns = f"claw-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None

    def start_containerd(self) -> None:
        """A process of its own, as Debian runs it: it and the shims live on when dockerd is killed."""
        (self.home / "containerd.toml").write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        with (self.home / "log").open("ab") as log:
            self._containerd = subprocess.Popen(
                [
                    *("containerd", "--config", str(self.home / "containerd.toml")),
                    *("--address", str(self.home / "containerd.sock")),
                    *("--root", str(self.home / "containerd"), "--state", str(self.home / "containerd-state")),
                ],
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("nsenter", f"--net=/run/netns/{self.netns}", "dockerd"),  # `ip netns exec` would hide the cgroups
                    *("--data-root", str(self.home / "data"), "--exec-root", str(self.home / "exec")),
                    *("--pidfile", str(self.home / "pid"), "--host", self.url, "--bip", "10.212.0.1/24"),
                    *("--containerd", str(self.home / "containerd.sock")),
                    *("--config-file", str(self.home / "daemon.json"), "--cgroup-parent", self.netns),
                ],
                stdout=log,
                stderr=log,
            )
        self._answering()

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(self.url)

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        for process in (self._process, self._containerd):
            if process and process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                process.kill()
        for left in (*_processes("cmdline", f"{self.home}/"), *_processes("cgroup", f"/{self.netns}/")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)

    def _answering(self) -> None:
        for _ in range(300):
            with contextlib.suppress(docker.errors.DockerException, OSError), contextlib.closing(self.client()) as api:
                api.ping()
                return
            time.sleep(0.1)
        raise AssertionError((self.home / "log").read_text()[-3000:])


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    home = Path(tempfile.mkdtemp(prefix="claw-dockerd-", dir="/var/tmp"))
    (home / "daemon.json").write_text("{}")
    made = Daemon(home)
    subprocess.run(["ip", "netns", "add", made.netns], check=True)
    try:
        subprocess.run(["ip", "-n", made.netns, "link", "set", "lo", "up"], check=True)
        made.start_containerd()
        made.start()
        yield made
    finally:
        made.stop()
        subprocess.run(["ip", "netns", "delete", made.netns], check=True)
        for mount in sorted(_mounts_under(home), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(home, ignore_errors=True)


def _processes(file: str, mark: str) -> list[int]:
    """Processes whose /proc file holds a mark that only this daemon's have: its folder, or its cgroup."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (each / file).read_bytes():
                found.append(int(each.name))
    return found


def _mounts_under(home: Path) -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{home}/")]


@pytest.fixture
async def elsewhere(
    daemon: Daemon, docker_client: docker.DockerClient, standin: str, tmp_path: Path
) -> AsyncIterator[Place]:
    client = daemon.client()
    saved = b"".join(await asyncio.to_thread(lambda: list(docker_client.images.get(standin).save(named=True))))
    await asyncio.to_thread(client.images.load, saved)
    made = Place(client, daemon.url, tmp_path, standin)
    try:
        await made.open()
        yield made
    finally:
        await made.close()
        await asyncio.to_thread(made.sweep)
        client.close()


async def test_after_the_daemon_was_killed_every_runtime_is_as_wanted_again(elsewhere: Place, daemon: Daemon) -> None:
    place = elsewhere
    runtime, stopped = await place.member(), await place.member(Want.STOPPED)
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "head -c 100000 /dev/urandom > /home/node/file; sync")
    before, whole = place.container(runtime).id, await place.inside(runtime, "sha256sum /home/node/file")
    await asyncio.to_thread(daemon.kill)
    view = await place.until(runtime, Phase.UNKNOWN)
    assert "docker info" in view.reason
    await asyncio.to_thread(daemon.start)
    began = time.monotonic()
    await place.until(runtime, Phase.READY, seconds=60)
    took = time.monotonic() - began
    assert place.container(runtime).id == before
    assert await place.inside(runtime, "sha256sum /home/node/file") == whole
    await place.until(stopped, Phase.STOPPED)
    assert place.containers(stopped) == []
    assert took < 60
