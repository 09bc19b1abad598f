"""`clawloops model …` through `main`: a backend is checked, its key sealed, and the control plane told."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp.abc import ResolveResult

from clawloops.__main__ import main
from clawloops.gateway.resolve import VettedResolver
from tests.upstream import Upstream, serve

KEY = "sk-canary-of-the-command-line"
Say = Callable[..., tuple[int, str, str]]


async def _lan(
    self: object, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
) -> list[ResolveResult]:
    """A LAN with one server, lab.test."""
    assert host == "lab.test"
    return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """In a thread of its own: `main` runs a loop itself."""
    ready, ended, found = threading.Event(), asyncio.Event(), list[Upstream]()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with serve() as running:
            found.append(running)
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    monkeypatch.setenv("CLAWLOOPS_INSTALL_ID", "0a1b2c3d")
    monkeypatch.setenv("CLAWLOOPS_DATA", str(tmp_path))
    monkeypatch.setattr(VettedResolver, "resolve", _lan)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "master.key").write_text(os.urandom(32).hex())
    (tmp_path / "keys" / "master.key").chmod(0o600)

    def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = main(["model", *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_one_line_connects_a_backend_and_another_one_forgets_it(say: Say, upstream: Upstream, tmp_path: Path) -> None:
    address = upstream.url.replace("127.0.0.1", "lab.test") + "/v1"
    status, out, err = say("add", "openai", "small", "--url", address, "--name", "Lab", "--key-file", "-", stdin=KEY)
    assert (status, err) == (0, "")
    assert out == "Lab: connected; members see small.\n"
    assert any(seen.authorization == f"Bearer {KEY}" for seen in upstream.seen)
    assert KEY.encode() not in (tmp_path / "clawloops.db").read_bytes()
    assert (tmp_path / "nudge").exists()
    (backend,) = json.loads(say("backends", "--json")[1])
    assert (backend["name"], backend["kind"], backend["served"]) == ("Lab", "openai", ["small"])
    assert [set(each) for each in backend["keys"]] == [{"id", "name", "group_id", "made_at"}], (
        "nothing of the key itself"
    )
    assert "running" not in backend, "only the control plane knows"
    (name,) = json.loads(say("list", "--json")[1])
    assert (name["name"], name["is_default"], name["is_open"], name["context_window"]) == ("small", True, True, 128_000)
    assert [(each["backend_id"], each["upstream"]) for each in name["places"]] == [(backend["id"], "small")]
    assert "openai" in say("backends")[1]
    assert "Lab: small" in say("list")[1]
    assert say("limit", "Lab", "2", "--watts", "300")[0] == 0
    assert say("limit", "Lab", "3", "--memory-mb", "8192")[0] == 0
    (backend,) = json.loads(say("backends", "--json")[1])
    assert (backend["slots"], backend["watts"], backend["memory_mb"]) == (3, 300, 8192)
    assert say("remove", "small")[0] == 0
    assert say("remove", "Lab", "--backend")[0] == 0
    assert json.loads(say("list", "--json")[1]) == []


def test_what_is_wrong_is_said_and_nothing_is_kept(say: Say, upstream: Upstream) -> None:
    assert "there is no name 'small'" in say("remove", "small")[2]
    assert "there is no backend 'Lab'" in say("remove", "Lab", "--backend")[2]
    assert "cannot read /none" in say("add", "openai", "--url", upstream.url, "--key-file", "/none")[2]
    address = upstream.url.replace("127.0.0.1", "lab.test") + "/v1"
    status, out, err = say("add", "openai", "key-other", "--url", address, "--key-file", "-", stdin=KEY)
    assert (status, out) == (1, "")
    assert "refused" in err and KEY not in err
    assert json.loads(say("list", "--json")[1]) == []


def test_another_name_becomes_the_default(say: Say, upstream: Upstream) -> None:
    address = upstream.url.replace("127.0.0.1", "lab.test") + "/v1"
    assert say("add", "openai", "small", "medium", "--url", address, "--name", "Lab")[0] == 0
    assert say("default", "medium")[:2] == (0, "medium: new chats start with it.\n")
    found = {each["name"]: each["is_default"] for each in json.loads(say("list", "--json")[1])}
    assert found == {"small": False, "medium": True}
    assert "there is no name 'large'" in say("default", "large")[2]
    assert "Give a number from 0 to" in say("limit", "Lab", "-1")[2] + say("limit", "Lab", "5000")[2]
