"""No provider key, master key or internal key is anywhere in a member's runtime, nor in what Docker tells about it."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.appliance import docker, run
from tests.e2e.browser import CHROMIUM
from tests.e2e.story import Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="this machine has no package named chromium"),
]


def _needles(story: Story) -> dict[str, str]:
    """What must not be found: every secret of the install in each spelling in which it could leak."""
    found = {"provider key": story.provider_key}
    for file in story.appliance.secret_files:
        text = file.read_bytes().strip()
        if b"PRIVATE KEY" in text:
            found[file.name] = text.splitlines()[1].decode()
            continue
        found[file.name] = text.decode()
        if len(text) == 64:
            found[f"{file.name}, as bytes in base64"] = base64.b64encode(bytes.fromhex(text.decode())).decode()
    return found


def _search(container: str, needle: str) -> list[str]:
    """Files, and environments and command lines of processes, of a container that hold a text; seen from the host.

    Through /proc/PID/root all its mounts are there as it sees them. The text itself never becomes an argument.
    """
    pid = docker("inspect", "-f", "{{.State.Pid}}", container).strip()
    root = Path(f"/proc/{pid}/root")
    places = [str(each) for each in root.iterdir() if each.name not in ("proc", "sys", "dev") and not each.is_symlink()]
    # With -s: files that vanish meanwhile. Exit status 1 means that nothing was found.
    found = run("grep", "-rlasF", "-f", "-", *places, limit_s=200, check=False, stdin=needle.encode()).splitlines()
    hits = [each.removeprefix(str(root)) for each in found]
    processes = [line.split()[0] for line in docker("top", container, "-eo", "pid").splitlines()[1:]]
    for each in processes:
        for part in ("environ", "cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):
                if needle.encode() in Path(f"/proc/{each}/{part}").read_bytes():
                    hits.append(f"{part} of process {each}")
    return hits


@pytest.mark.attacks(19)
@pytest.mark.limit(600)
def test_no_secret_is_in_the_runtimes_files_or_processes(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    # First the search itself: the runtime's own token is there, and it is found.
    token = (story.appliance.data / "runtimes" / story.runtime_id / "secret" / "model-token").read_text().strip()
    assert "/run/clawloops/model-token" in _search(story.runtime, token)
    assert any(each.startswith("environ of") for each in _search(story.runtime, "OPENCLAW_CONFIG_READONLY=1"))
    needles = _needles(story)
    assert {"provider key", "master.key", "litellm.key"} <= set(needles)
    assert {name: found for name, value in needles.items() if (found := _search(story.runtime, value))} == {}


@pytest.mark.attacks(19)
def test_no_secret_is_in_what_docker_tells(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    for container in story.appliance.containers():
        told = docker("inspect", container) + docker("logs", "--tail", "20000", container)
        assert [name for name, value in _needles(story).items() if value in told] == [], container


@pytest.mark.attacks(19)
def test_no_provider_key_is_readable_in_the_store(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    files = [each for each in story.appliance.data.rglob("*") if each.is_file() and "ollama" not in each.parts]
    leaks = [str(each) for each in files if story.provider_key.encode() in each.read_bytes()]
    assert leaks == []
