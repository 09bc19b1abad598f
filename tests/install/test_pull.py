"""Where a container registry answers, official images are pulled: from a real registry on loopback."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry import registry

__all__ = ["registry"]

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.docker


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr[-2000:]}"
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(\S+)$", (ROOT / "images/versions.env").read_text(), re.MULTILINE))


@pytest.fixture
def mirrored(registry: str) -> Iterator[dict[str, str]]:
    """Small stand-ins under the official names, pushed and then gone from the Engine; what they are called."""
    versions, made = _versions(), "FROM clawloops/base:{}\nLABEL clawloops-test={}\n"
    names = {
        "CLAWLOOPS_IMAGE_BASE": f"debian:{versions['DEBIAN_SUITE']}-slim",
        "CLAWLOOPS_IMAGE_TRAEFIK": f"traefik:v{versions['TRAEFIK_VERSION']}",
        "CLAWLOOPS_IMAGE_OLLAMA": f"ollama/ollama:{versions['OLLAMA_VERSION']}",
    }
    references = {key: f"{registry}/{name}" for key, name in names.items()}
    for reference in references.values():
        text = made.format(versions["DEBIAN_SUITE"], secrets.token_hex(4))
        subprocess.run(
            ["docker", "build", "-q", "-t", reference, "-"], input=text.encode(), check=True, capture_output=True
        )
        _docker("push", "-q", reference)
        _docker("image", "rm", reference)
    yield references
    subprocess.run(["docker", "image", "rm", *references.values()], check=False, capture_output=True)


@pytest.mark.limit(900)
def test_official_images_are_pulled_and_ours_are_built_on_the_pulled_base(
    mirrored: dict[str, str], registry: str, tmp_path: Path
) -> None:
    # Ours are heavy to build; a checkout whose own images are one line each shows the same path in seconds.
    checkout = tmp_path / "checkout"
    for each in ("install.d", "images", "traefik", "clawloops", "templates"):
        shutil.copytree(ROOT / each, checkout / each, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "install.sh", checkout)
    for name in ("edge", "clawloops", "litellm", "openclaw"):
        (checkout / "images" / name / "Dockerfile").write_text(
            f"ARG BASE\nFROM ${{BASE}}\nLABEL clawloops-test={registry}\n"
        )
    command: list[str | Path] = ["bash", checkout / "install.sh", "images", "--registry", registry]
    command += ["--data", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = dict(line.split("=", 1) for line in done.stdout.splitlines())
    ours = [printed[key] for key in printed if printed[key].startswith("clawloops/")]
    try:
        assert {key: printed[key] for key in mirrored} == mirrored
        assert "pulling" in done.stderr
        base = _docker("image", "inspect", "-f", "{{index .RootFS.Layers 0}}", mirrored["CLAWLOOPS_IMAGE_BASE"])
        assert len(ours) == 4
        for each in ours:
            assert _docker("image", "inspect", "-f", "{{index .RootFS.Layers 0}}", each) == base
    finally:
        _docker("image", "rm", *ours)


def test_a_registry_that_is_no_address_is_refused() -> None:
    done = subprocess.run(
        ["bash", ROOT / "install.sh", "images", "--registry", "https://x y"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "mirror.example.org:5000" in done.stderr
