"""The support bundle: how the box stands, without a secret, a member's name or an address of the internet."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from clawloops import ground, log, support
from clawloops.__main__ import main
from clawloops.model.account import Role, User
from clawloops.model.runtime import Phase, Runtime, View, Want
from clawloops.store import runtimes as rows
from clawloops.store import users
from tests.store.test_seal import write_key
from tests.web.upkept import settings

MAYA = User("u1", "maya.b", "Maya Brandt", Role.MEMBER, "-", None, 1)
AL = User("u2", "al", "Al", Role.OWNER, "-", None, 2)
WORKSPACE = Runtime(
    "r1", "u1", "maya-b-k3f9wq", Want.RUNNING, "10.0.0.0/29", 0, None, 1, 3, "maya-b-k3f9wq went away", 0, 1
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with ground.store(settings(tmp_path)) as db:
            for user in (MAYA, AL):
                await users.add(db, user)
            await rows.add(db, WORKSPACE)
            audit = await ground.open_audit(db, settings(tmp_path))
            await audit.record("u1", "workspace settings", WORKSPACE.slug, "a private detail")

    (tmp_path / "keys").mkdir()
    write_key(tmp_path / "keys" / "master.key", "ab" * 32)
    asyncio.run(fill())
    return tmp_path


def read(made: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        found = {each.name.partition("/")[2]: archive.extractfile(each) for each in archive.getmembers()}
        return {name: file.read().decode() for name, file in found.items() if file is not None}


def made_of(data: Path, *views: View) -> dict[str, str]:
    return read(asyncio.run(support.bundle(settings(data), views=views)))


def logged(data: Path, *lines: str) -> None:
    (data / "log").mkdir(exist_ok=True)
    (data / "log" / "clawloops.log").write_text("\n".join(lines) + "\n")


def test_people_stand_under_other_names_by_which_they_are_the_same_everywhere(data: Path) -> None:
    logged(
        data,
        "Maya Brandt signed in; MAYA.B from 8.8.8.8 and 2606:4700::1111, maya.b@team.example wrote",
        "runtime maya-b-k3f9wq: al woke it at 12:05:07 on 10.201.0.3; the goal of Brandt's model is alive",
    )
    files = made_of(data, View("r1", Phase.READY, reason="Al looked at it"))
    assert files["clawloops.log"].splitlines() == [
        "member-1 signed in; member-1 from [address] and [address], [e-mail] wrote",
        "runtime workspace-1: member-2 woke it at 12:05:07 on 10.201.0.3; the goal of member-1's model is alive",
    ]
    (workspace,) = json.loads(files["workspaces.json"])
    assert (workspace["owner"], workspace["slug"], workspace["phase"]) == ("member-1", "workspace-1", "ready")
    assert (workspace["failure"], workspace["reason"]) == ("workspace-1 went away", "member-2 looked at it")
    (entry,) = json.loads(files["audit.json"])
    assert (entry["by"], entry["action"]) == ("member-1", "workspace settings") and len(entry) == 3
    whole = "\n".join(files.values()).lower()
    assert not [each for each in ("maya", "brandt", "k3f9wq", "private detail", "8.8.8.8") if each in whole]
    assert json.loads(files["settings.json"])["install_id"] == "00000000"
    assert json.loads(files["versions.json"])["packages"]["aiohttp"]
    assert any(each["part"] == "disk" for each in json.loads(files["doctor.json"]))


def test_what_strangers_made_the_log_hold_costs_the_bundle_no_time(data: Path) -> None:
    logged(data, *["refused GET /" + ":" * 8000 + "z: 404"] * 200, *["/" + "a." * 4000 + "@" * 4000] * 20)
    assert "clawloops.log" in made_of(data)  # a pattern that looks back and forth would take hours


def test_an_address_with_a_stop_or_a_colon_behind_it_is_one_too(data: Path) -> None:
    logged(data, "from 2606:4700::1111. Then 2606:4700::1111: refused, at 12:05:07: ::1")
    assert made_of(data)["clawloops.log"] == "from [address]. Then [address]: refused, at 12:05:07: ::1\n"


def test_without_a_database_nothing_is_told_that_may_hold_a_name(data: Path) -> None:
    logged(data, "Maya Brandt signed in")
    (data / "clawloops.db").write_bytes(b"no database" * 1000)
    files = made_of(data)
    assert set(files) == {"README.txt", "versions.json", "database.json"}
    assert "Maya" not in "".join(files.values())


def test_it_is_bounded_and_of_a_long_log_it_has_the_end(data: Path) -> None:
    logged(data, *(f"{number} {'x' * 900}" for number in range(9000)))
    files = made_of(data)
    assert len(files["clawloops.log"]) <= 2 << 20 and files["clawloops.log"].rstrip().splitlines()[-1].startswith(
        "8999 "
    )
    assert all(len(each) <= 2 << 20 for each in files.values())


def test_the_log_is_also_kept_in_a_file_that_is_bounded_and_masked(tmp_path: Path) -> None:
    kept = log.keep(tmp_path / "log")
    try:
        log.redactor.add("a-secret-of-the-test")
        for number in range(9000):
            logging.getLogger("clawloops.test").warning("%d a-secret-of-the-test %s", number, "x" * 300)
    finally:
        logging.getLogger().removeHandler(kept)
        kept.close()
    files = sorted((tmp_path / "log").iterdir())
    assert [each.name for each in files] == ["clawloops.log", "clawloops.log.1"]
    assert all(each.stat().st_size <= 1 << 20 for each in files)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700 and files[0].stat().st_mode & 0o777 == 0o600
    text = files[0].read_text()
    assert "8999 [secret]" in text and "a-secret-of-the-test" not in text


def test_from_the_shell_it_goes_into_a_file_and_never_onto_a_terminal(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"INSTALL_ID": "0" * 8, "DATA": str(data), "ENGINE": f"unix://{data}/no.sock"}
    for name, value in given.items():
        monkeypatch.setenv(f"CLAWLOOPS_{name}", value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["support"]) == 1
    assert "clawloops support > support.tar.gz" in capsys.readouterr().err
    made = subprocess.run([sys.executable, "-m", "clawloops", "support"], check=True, capture_output=True, timeout=60)
    assert "workspaces.json" in read(made.stdout)
