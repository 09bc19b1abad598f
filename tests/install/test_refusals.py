"""Whatever install.sh refuses, it says what is wrong and what to do next, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("install.sh", "install.d", "docker-compose.yml", "images", "traefik", "clawloops", "templates")


@dataclass(frozen=True)
class Checkout:
    """A copy of what install.sh needs, readable by everybody, and a data folder that must never come to be."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "nothing" / "data"

    def run(self, *arguments: str, before: Sequence[str] = (), path: str = "") -> subprocess.CompletedProcess[str]:
        environ = dict(os.environ)
        if path:
            environ["PATH"] = f"{path}:{environ['PATH']}"
        return subprocess.run(
            [*before, "bash", str(self.path / "install.sh"), *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    with tempfile.TemporaryDirectory(prefix="clawloops-checkout-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        for each in PARTS:
            if (ROOT / each).is_dir():
                shutil.copytree(ROOT / each, path / each, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / each, path / each)
        yield Checkout(path)


def _containers() -> set[str]:
    listed = subprocess.run(
        ["docker", "ps", "-aq", "--filter", "label=clawloops.managed", "--filter", "label=com.docker.compose.project"],
        capture_output=True,
        text=True,
        check=False,
    )
    return set(listed.stdout.split())


def refused(checkout: Checkout, result: subprocess.CompletedProcess[str], what: str, next_step: str) -> None:
    """The refusal names both, exactly once, and nothing was made."""
    assert result.returncode != 0, result.stdout
    assert what in result.stderr
    lines = [each for each in result.stderr.splitlines() if each.startswith("  Next: ")]
    assert len(lines) == 1, result.stderr
    assert next_step in lines[0]
    assert not checkout.data.parent.exists()
    assert not (checkout.path / ".env").exists()


def in_own_mounts(*commands: str) -> list[str]:
    """A prefix that runs the installer after these commands, in a mount namespace that dies with it."""
    return ["unshare", "--mount", "sh", "-ec", "; ".join([*commands, 'exec "$@"']), "sh"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--htpp-port", "80"], "unknown option or command '--htpp-port'"),
        (["upgrade"], "unknown option or command 'upgrade'"),
        (["--data"], "--data needs a value"),
        (["--data", "/srv/a b"], "characters other than"),
        (["--purge"], "--purge belongs to uninstall"),
    ],
)
def test_a_wrong_command_line_is_refused(checkout: Checkout, arguments: list[str], what: str) -> None:
    refused(checkout, checkout.run(*arguments), what, "")


def test_help_lists_every_option(checkout: Checkout) -> None:
    result = checkout.run("--help")
    assert result.returncode == 0
    for each in ("--data", "--domain", "--http-port", "--https-port", "--build", "--without-ollama", "--purge"):
        assert each in result.stdout


@pytest.mark.docker
@pytest.mark.parametrize(
    ("arguments", "what", "next_step"),
    [
        (["--domain", "Claw_Loops"], "not a host name", "claw.example.org"),
        (["--http-port", "70000"], "'70000' is not a port", "1 to 65535"),
        (["--domain", "a.test", "--http-port", "8443", "--https-port", "8443"], "cannot share", "--http-port"),
        (["uninstall"], "no ClawLoops has its data", "--data"),
    ],
)
def test_a_value_that_cannot_be_is_refused(checkout: Checkout, arguments: list[str], what: str, next_step: str) -> None:
    refused(checkout, checkout.run(*arguments, "--data", str(checkout.data)), what, next_step)


@pytest.mark.docker
def test_somebody_who_is_not_root_is_told_to_use_sudo(checkout: Checkout) -> None:
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    result = checkout.run("--data", str(checkout.data), before=nobody)
    refused(checkout, result, "only root may do this", "sudo")


@pytest.mark.docker
def test_a_port_in_use_is_refused_with_another_one_to_try(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = checkout.run("--data", str(checkout.data), "--http-port", str(port))
    refused(checkout, result, f"port {port} is taken", f"--http-port {port + 1}")
    assert f"process {os.getpid()}" in result.stderr


@pytest.mark.docker
def test_a_full_disk_is_refused(checkout: Checkout) -> None:
    with tempfile.TemporaryDirectory() as small:
        before = in_own_mounts(f"mount -t tmpfs -o size=64m none {small}")
        result = checkout.run("--data", f"{small}/data", before=before)
        assert list(Path(small).iterdir()) == []
    refused(checkout, result, "has 64 MiB free", "--data")


@pytest.mark.docker
def test_too_little_memory_is_refused(checkout: Checkout) -> None:
    small = checkout.path / "meminfo"
    small.write_text("MemTotal:        2097152 kB\nMemFree:         1048576 kB\n")
    before = in_own_mounts(f"mount --bind {small} /proc/meminfo")
    result = checkout.run("--data", str(checkout.data), "--http-port", "18080", before=before)
    refused(checkout, result, "2048 MiB of memory", "add memory")


@pytest.mark.docker
def test_a_system_that_is_neither_debian_nor_ubuntu_is_refused(checkout: Checkout) -> None:
    other = checkout.path / "os-release"
    other.write_text('ID=plan9\nPRETTY_NAME="Plan 9"\n')
    before = in_own_mounts(f"mount --bind {other} /etc/os-release")
    result = checkout.run("--data", str(checkout.data), before=before)
    refused(checkout, result, "this is Plan 9", "docker-compose.yml")


@pytest.mark.docker
def test_an_env_file_of_the_owner_is_not_overwritten(checkout: Checkout) -> None:
    own = checkout.path / ".env"
    own.write_text("MINE=1\n")
    result = checkout.run("--data", str(checkout.data))
    assert own.read_text() == "MINE=1\n"
    own.unlink()
    refused(checkout, result, "is a file of your own", "move it away")


@pytest.mark.docker
def test_a_daemon_that_does_not_start_is_reported_with_its_own_words(checkout: Checkout) -> None:
    bin_folder = checkout.path / "bin"
    bin_folder.mkdir()
    for name in ("dockerd", "systemctl"):
        (bin_folder / name).write_text("#!/bin/sh\necho 'failed: no room for cgroups' >&2\nexit 1\n")
        (bin_folder / name).chmod(0o755)
    socket_path = Path("/var/run/docker.sock").resolve()
    before = in_own_mounts(f"mount --bind /dev/null {socket_path}")
    had_log = Path("/var/log/dockerd.log").exists()
    result = checkout.run("--data", str(checkout.data), "--http-port", "18080", before=before, path=str(bin_folder))
    refused(checkout, result, "the Docker daemon does not start", "then run this again")
    assert "failed: no room for cgroups" in result.stderr
    assert Path("/var/log/dockerd.log").exists() == had_log


@pytest.mark.docker
def test_an_image_that_cannot_be_built_stops_the_install_before_anything_starts(checkout: Checkout) -> None:
    with (checkout.path / "images/edge/Dockerfile").open("a") as dockerfile:
        dockerfile.write("USER root\nRUN echo 'E: no such package' >&2; false\n")
    containers = _containers()
    result = checkout.run("--data", str(checkout.data), "--http-port", "18080")
    refused(checkout, result, "the image edge could not be built", "what is built stays")
    assert "E: no such package" in result.stderr
    assert _containers() - containers == set()


@pytest.mark.docker
def test_an_ollama_that_cannot_be_built_is_left_out_with_one_line(checkout: Checkout) -> None:
    (checkout.path / "images/ollama/Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nRUN echo 'no route to proxy'; false\n"
    )
    result = checkout.run("images", "--build", "--data", str(checkout.data))
    assert result.returncode == 0, result.stderr
    assert "Ollama is left out" in result.stderr
    assert "no route to proxy" in result.stderr
    assert "COMPOSE_PROFILES=ollama" in result.stderr
    assert "CLAWLOOPS_OPENCLAW_IMAGE=clawloops/openclaw:" in result.stdout
    assert "CLAWLOOPS_IMAGE_OLLAMA" not in result.stdout
    assert not checkout.data.parent.exists()
