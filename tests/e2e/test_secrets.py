"""No secret of the table is anywhere in an installed appliance but where tests/canaries.py says: see `_planted`."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.canaries import SECRETS, Tried, leaks, spelled
from tests.e2e.appliance import docker, run
from tests.e2e.browser import CHROMIUM
from tests.e2e.story import CLOUD_MODEL, CLOUD_WORDS, MEMBER, OWNER, Story
from tests.e2e.test_guard import ask
from tests.e2e.test_own_tools import call

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="this machine has no package named chromium"),
    pytest.mark.limit(600),
    # Where there is an authority's key, too; nothing else depends on the way a browser came here.
    pytest.mark.parametrize("story", ["https"], indirect=True),
]

TOKEN = "token of a runtime"
SAID_IN_THE_SHELL = (
    ("doctor",), ("runtime", "list", "--json"), ("runtime", "events", MEMBER.login), ("model", "list"),
    ("audit", "verify"), ("setup-link",),
)  # fmt: skip


def _planted(story: Story) -> dict[str, list[str]]:
    """The secrets of this install, by their names in the table."""
    story.reach("made a key")
    data, found = story.appliance.data, dict[str, list[str]]()
    found["master key"] = [(data / "keys" / "master.key").read_text().strip()]
    found["LiteLLM's internal key"] = [(data / "secrets" / "litellm.key").read_text().strip()]
    found["password of PostgreSQL"] = [(data / "secrets" / "postgres.password").read_text().strip()]
    found["private key of a certificate or authority"] = [
        key[1].decode()
        for each in story.appliance.secret_files
        if (key := re.search(rb"PRIVATE KEY-----(?:\\n|\s)+([\w+/=]{40,})", each.read_bytes()))
    ]
    found[TOKEN] = [(data / "runtimes" / story.runtime_id / "secret" / "model-token").read_text().strip()]
    found["key of a provider or backend"] = [story.provider_key]
    found["key for own tools"] = [str(story.told["made a key"])]
    found["password of a member"] = [OWNER.password, MEMBER.password]
    links = (story.appliance.setup_link, str(story.told["invited"]))
    found["link of an invitation, or to set the box up"] = [each.rpartition("/")[2] for each in links]
    found["session of the dashboard"] = [
        str(cookie["value"])
        for window in (story.owner, story.second)
        for cookie in window.page.context.cookies()
        if cookie["name"] == "__Host-cl_session"
    ]
    assert set(found) == {each.name for each in SECRETS if Tried.APPLIANCE in each.tried}
    assert len(found["session of the dashboard"]) == 2
    return found


def _holders(name: str) -> tuple[str, ...]:
    return next(each.holders for each in SECRETS if each.name == name)


def _search(container: str, *needles: str) -> list[str]:
    """Files, and environments and command lines of processes, of a container that hold a text; seen from the host.

    Through /proc/PID/root all its mounts are there as it sees them. The texts themselves never become arguments.
    """
    pid = docker("inspect", "-f", "{{.State.Pid}}", container).strip()
    root = Path(f"/proc/{pid}/root")
    places = [str(each) for each in root.iterdir() if each.name not in ("proc", "sys", "dev") and not each.is_symlink()]
    # With -s: files that vanish meanwhile. Exit status 1 means that nothing was found.
    found = run(
        "grep", "-rlasF", "-f", "-", *places, limit_s=200, check=False, stdin="\n".join(needles).encode()
    ).splitlines()
    hits = [each.removeprefix(str(root)) for each in found]
    processes = [line.split()[0] for line in docker("top", container, "-eo", "pid").splitlines()[1:]]
    for each in processes:
        for part in ("environ", "cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):
                text = Path(f"/proc/{each}/{part}").read_bytes()
                if any(needle.encode() in text for needle in needles):
                    hits.append(f"{part} of process {each}")
    return hits


def _spelled(secrets: list[str]) -> list[str]:
    return [spelling for each in secrets for spelling in spelled(each).values()]


@pytest.mark.attacks(19)
def test_each_container_holds_in_its_files_and_processes_what_is_its_own_to_hold(story: Story) -> None:
    planted = _planted(story)
    # First the search itself: it finds the runtime's own token, which is nowhere in what is kept of a workspace.
    assert _search(story.runtime, *planted[TOKEN]) == ["/run/clawloops/model-token"]
    assert any(each.startswith("environ of") for each in _search(story.runtime, "OPENCLAW_CONFIG_READONLY=1"))
    told: dict[str, list[str]] = {}
    for part in ("runtime", "canary", "edge", "traefik", "litellm", "guard"):
        container = {"runtime": story.runtime, "canary": story.appliance.runtime("canary")}.get(part)
        container = container or story.appliance.service(part)
        others = {name: _spelled(secrets) for name, secrets in planted.items() if part not in _holders(name)}
        # All of them at once; which of them it was is asked only of a container that holds one.
        if _search(container, *(each for spellings in others.values() for each in spellings)):
            told |= {f"{name} in {part}": _search(container, *spellings) for name, spellings in others.items()}
    assert told == {}


@pytest.mark.attacks(19)
def test_none_is_in_what_docker_tells_nor_in_a_log_not_even_after_errors(story: Story) -> None:
    planted = _planted(story)
    _provoke(story, planted)
    raw = "".join(docker("inspect", each) + docker("logs", each) for each in story.appliance.containers())
    assert leaks(raw, planted) == []
    guarded = ""
    for path in ("/v1.41/containers/json?all=1", *(f"/v1.41/containers/{each}/json" for each in _runtimes(story))):
        status, text = ask(story.appliance.service("clawloops"), "/run/guard/engine/docker.sock", "GET", path)
        assert status == 200
        guarded += text
    assert story.runtime in guarded and leaks(guarded, planted) == []


def _runtimes(story: Story) -> list[str]:
    return [each for each in story.appliance.containers() if each in (story.runtime, story.appliance.runtime("canary"))]


def _provoke(story: Story, planted: Mapping[str, list[str]]) -> None:
    """Each secret is sent where it is wrong, and the provider quotes its key as it refuses it."""
    words = [f"cloud{number} " for number in range(CLOUD_WORDS)]
    story.upstream.script(CLOUD_MODEL, key="another key", words=words)
    status, text = call(story, "/v1/chat/completions", planted["key for own tools"][0], CLOUD_MODEL)
    assert status == 502 and leaks(json.dumps(text), planted) == []
    story.upstream.script(CLOUD_MODEL, key=story.provider_key, words=words, gap_s=0.05)
    for secrets in planted.values():
        for secret in secrets:
            status, text = call(
                story, "/v1/chat/completions", secret.replace("/", "").replace(" ", ""), "no such model"
            )
            assert status in (401, 403, 404) and leaks(json.dumps(text), {"what was sent": [secret]}) == []


@pytest.mark.attacks(19)
def test_no_command_on_the_box_tells_one(story: Story) -> None:
    planted = _planted(story)
    for words in SAID_IN_THE_SHELL:
        told = docker("exec", story.appliance.service("clawloops"), "clawloops", *words, limit_s=120, check=False)
        assert "Traceback" not in told and leaks(told, planted) == [], words


@pytest.mark.attacks(19)
def test_no_file_of_the_data_folder_holds_one_but_its_own(story: Story) -> None:
    """The database, its copies, the journal, the settings, and what other parts are given; as bytes on the disk."""
    planted, data, told = _planted(story), story.appliance.data, list[str]()
    for each in (each for each in data.rglob("*") if each.is_file() and "ollama" not in each.parts):
        place, text = str(each.relative_to(data)), each.read_bytes().decode("latin-1")
        own = {name.name for name in SECRETS if any(fnmatch.fnmatch(place, glob) for glob in name.files)}
        told += [f"{place}: {found}" for found in leaks(text, {n: s for n, s in planted.items() if n not in own})]
    assert told == []
