"""`clawloops user password` through `main`, beside a control plane that follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from clawloops.__main__ import main
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.sessions import Sessions
from clawloops.errors import NotSignedIn
from clawloops.model.account import Role, SessionKind
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from tests.store.test_seal import write_key

OLD = "correct horse battery"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLAWLOOPS_INSTALL_ID", "0a1b2c3d")
    monkeypatch.setenv("CLAWLOOPS_DATA", str(tmp_path))
    (tmp_path / "keys").mkdir()
    write_key(tmp_path / "keys" / "master.key", "ab" * 32)

    async def fill(db: Database) -> None:
        accounts = Accounts(db, Sessions(db), Audit(db, b"key"))
        await accounts.keep(await accounts.draft(login="mia", name="Mia", password=OLD, role=Role.OWNER))

    _beside(tmp_path, fill)
    return tmp_path


def _beside(folder: Path, work: Callable[[Database], Awaitable[None]]) -> None:
    async def run() -> None:
        db = await open_database(f"sqlite:///{folder}/clawloops.db")
        await migrate(db, backup_dir=folder / "backups")
        await work(db)
        await db.close()

    asyncio.run(run())


def test_whoever_forgot_theirs_gets_a_new_one_and_the_control_plane_follows(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def beside(db: Database) -> None:
        sessions = Sessions(db)
        accounts = Accounts(db, sessions, Audit(db, b"key"))
        await accounts.load()
        user, token = await accounts.sign_in("mia", OLD, "192.0.2.1")
        inside, _ = await sessions.issue(user.id, SessionKind.DASHBOARD)
        assert await asyncio.to_thread(main, ["user", "password", "Mia", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["login"] == "mia" and accounts.user_of(token) is not None
        await accounts.reload()
        assert accounts.user_of(token) is None and accounts.user_of(inside) is None
        with pytest.raises(NotSignedIn):
            await accounts.sign_in("mia", OLD, "192.0.2.1")
        await accounts.sign_in("mia", told["password"], "192.0.2.1")
        await accounts.reload()
        assert (data / "nudge").exists()

    _beside(data, beside)


def test_nobody_of_that_name(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["user", "password", "eve"]) == 1
    assert "There is no member 'eve'" in capsys.readouterr().err
