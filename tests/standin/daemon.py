"""A Docker daemon of the test's own, never the host's: its own network namespace, sockets, and disk of a fixed size.

It can be killed, rebooted and filled up. containerd is a process of its own, as Debian runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import docker.errors

CGROUPS = Path("/sys/fs/cgroup")
DISK_MB = 700  # the stand-in's image takes 125 of them


class Daemon:
    """Runs between `with` and its end. All methods block, and may be called from any thread."""

    def __init__(self, *, live_restore: bool = False, disk_mb: int = DISK_MB, runsc: str = "") -> None:
        """`runsc`: the program that it knows under that name, "" for none."""
        self.home = Path(tempfile.mkdtemp(prefix="claw-dockerd-", dir="/var/tmp"))
        self.url = f"unix://{self.home}/docker.sock"
        self.disk = self.home / "disk"
        self.name = f"claw-{secrets.token_hex(4)}"  # of its network namespace and its cgroup
        self._settings: dict[str, object] = {"live-restore": live_restore, "data-root": str(self.disk / "docker")}
        if runsc:
            self._settings["runtimes"] = {"runsc": {"path": runsc}}
        self._disk_mb = disk_mb
        self._dockerd: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._sweep)
            (self.home / "daemon.json").write_text(json.dumps(self._settings))
            (self.home / "containerd.toml").write_text(
                'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            )
            self._make_disk()
            self._make_network()
            self.start()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sweep()

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(self.url)

    async def load(self, image: str, source: docker.DockerClient) -> None:
        """Give it an image that another daemon has."""

        def copy() -> None:
            with contextlib.closing(self.client()) as client:
                stream = source.images.get(image).save(named=True)
                client.images.load(stream)  # type: ignore[arg-type]  # as the SDK's own documentation does

        await asyncio.to_thread(copy)

    def start(self) -> None:
        """containerd, unless it lives still, and dockerd; returns once it answers."""
        with (self.home / "log").open("ab") as log:
            if self._containerd is None or self._containerd.poll() is not None:
                self._containerd = subprocess.Popen(self._containerd_line(), stdout=log, stderr=log)
            self._dockerd = subprocess.Popen(self._dockerd_line(), stdout=log, stderr=log)
        self._answering()

    def kill(self) -> None:
        """SIGKILL to dockerd alone: containerd, the shims and the containers live on."""
        assert self._dockerd
        self._dockerd.kill()
        self._dockerd.wait()

    def power_off(self) -> None:
        """Everything ends in the same instant, and the network is gone with it."""
        for process in (self._dockerd, self._containerd):
            if process is not None:
                process.kill()
                process.wait()
        self._end_the_rest()
        for mount in self._mounts():
            if mount != str(self.disk):
                subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.home / "exec", ignore_errors=True)  # /run is empty after a reboot
        shutil.rmtree(self.home / "containerd-state", ignore_errors=True)
        (self.home / "pid").unlink(missing_ok=True)
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def boot(self) -> None:
        """After `power_off`."""
        self._make_network()
        self.start()

    def recover(self) -> None:
        """Undo what a test left undone."""
        self.free_disk()
        if not Path(f"/run/netns/{self.name}").exists():
            self.boot()
        elif self._dockerd is None or self._dockerd.poll() is not None:
            self.start()

    def fill_disk(self) -> None:
        """Leave no block of its disk free."""
        with (self.disk / "ballast").open("ab", buffering=0) as ballast:
            for size in (2**20, 4096):
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(size)) == size:
                        pass

    def free_disk(self) -> None:
        (self.disk / "ballast").unlink(missing_ok=True)

    def _containerd_line(self) -> list[str]:
        home = self.home
        return [
            *("containerd", "--config", f"{home}/containerd.toml", "--address", f"{home}/containerd.sock"),
            *("--root", f"{self.disk}/containerd", "--state", f"{home}/containerd-state"),
        ]

    def _dockerd_line(self) -> list[str]:
        home = self.home
        return [
            *("nsenter", f"--net=/run/netns/{self.name}", "dockerd"),  # `ip netns exec` would hide the cgroups
            *("--exec-root", f"{home}/exec", "--pidfile", f"{home}/pid", "--host", self.url, "--bip", "10.212.0.1/24"),
            *("--containerd", f"{home}/containerd.sock", "--config-file", f"{home}/daemon.json"),
            *("--cgroup-parent", self.name),
        ]

    def _answering(self) -> None:
        for _ in range(300):
            with contextlib.suppress(docker.errors.DockerException, OSError), contextlib.closing(self.client()) as api:
                api.ping()
                return
            time.sleep(0.1)
        raise AssertionError((self.home / "log").read_text()[-3000:])

    def _make_disk(self) -> None:
        image = self.home / "disk.img"
        with image.open("wb") as file:
            file.truncate(self._disk_mb * 2**20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        self.disk.mkdir()
        subprocess.run(["mount", "-o", "loop", str(image), str(self.disk)], check=True)

    def _make_network(self) -> None:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)

    def _sweep(self) -> None:
        for process in (self._dockerd, self._containerd):
            if process and process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                process.kill()
                process.wait()
        self._end_the_rest()
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
        for mount in self._mounts():
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    def _end_the_rest(self) -> None:
        """Shims and containers, which have its folder or its cgroup in /proc; then the cgroups themselves."""
        cgroups = [*CGROUPS.glob(self.name), *CGROUPS.glob(f"*/{self.name}")]
        for frozen in (each for top in cgroups for each in top.rglob("freezer.state")):
            frozen.write_text("THAWED")  # version 1 keeps even SIGKILL from a paused one
        while left := {*_processes("cmdline", f"{self.home}/"), *_processes("cgroup", f"/{self.name}/")}:
            for each in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            time.sleep(0.05)
        for folder in (Path(each) for top in cgroups for each, _, _ in os.walk(top, topdown=False)):
            folder.rmdir()

    def _mounts(self) -> list[str]:
        """What is mounted in its folder, the innermost first."""
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        return sorted((each for each in mounts if each.startswith(f"{self.home}/")), reverse=True)


def _processes(file: str, mark: str) -> set[int]:
    found = set()
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            zombie = (each / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not zombie and mark.encode() in (each / file).read_bytes():
                found.add(int(each.name))
    return found
