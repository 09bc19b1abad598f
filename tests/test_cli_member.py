"""`clawloops member …` through `main`, beside a control plane that follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from clawloops.__main__ import main
from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.factors import Factors
from clawloops.control.invitations import Invitations
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.errors import NotSignedIn
from clawloops.model.account import Role, SessionKind, User
from clawloops.model.factor import Passkey
from clawloops.model.runtime import Want
from clawloops.store import passkeys, recovery, users
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from clawloops.store.seal import Sealer
from clawloops.web.api.people import Member
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
        user = await accounts.check_password("mia", OLD, "192.0.2.1")
        token = await accounts.begin_session(user)
        inside, _ = await sessions.issue(user.id, SessionKind.DASHBOARD)
        assert await asyncio.to_thread(main, ["user", "password", "Mia", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["login"] == "mia" and accounts.user_of(token) is not None
        await accounts.reload()
        assert accounts.user_of(token) is None and accounts.user_of(inside) is None
        with pytest.raises(NotSignedIn):
            await accounts.check_password("mia", OLD, "192.0.2.1")
        await accounts.check_password("mia", told["password"], "192.0.2.1")
        await accounts.reload()
        assert (data / "nudge").exists()

    _beside(data, beside)


def test_whoever_lost_everything_gets_in_without_a_second_factor_and_nobody_else(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def beside(db: Database) -> None:
        sessions, audit = Sessions(db), Audit(db, b"key")
        accounts = Accounts(db, sessions, audit)
        await accounts.load()
        user = accounts.members()[0]
        await recovery.replace(db, user.id, [bytes(32)])
        await passkeys.add(db, Passkey("p1", user.id, b"credential", b"key", b"handle", 0, "Phone", 1, 0))
        factors = Factors(db, Sealer(bytes(32), install_id="0a1b2c3d"), sessions, audit, host="x")
        assert await asyncio.to_thread(main, ["user", "password", "mia"]) == 0
        assert (await factors.of(user.id)).has_factor
        assert await asyncio.to_thread(main, ["user", "password", "mia", "--without-second-factor", "--json"]) == 0
        standing = await factors.of(user.id)
        assert not standing.has_factor and standing.codes_left == 0
        told = [(each.actor, each.action) for each in await audit.latest()]
        assert told[:2] == [(None, "second factors removed"), (None, "password reset from a shell")]

    _beside(data, beside)


def test_nobody_of_that_name(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["member", "reset", "eve"]) == main(["user", "password", "eve"]) == 1
    assert "There is no member 'eve'" in capsys.readouterr().err


Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(data: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*words: str) -> tuple[int, str, str]:
        status = main(["member", *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


async def _join(db: Database, login: str, name: str) -> User:
    user = User(f"u-{login}", login, name, Role.MEMBER, "-", None, now_ms())
    await users.add(db, user)
    return user


def test_whoever_is_shut_out_from_a_shell_is_out_at_once_and_back_when_let_in(data: Path, say: Say) -> None:
    async def beside(db: Database) -> None:
        """The control plane, which has read everybody before."""
        ben = await _join(db, "ben", "Ben")
        sessions, audit = Sessions(db), Audit(db, b"key")
        accounts = Accounts(db, sessions, audit)
        runtimes = Runtimes(db, audit, pool=IPv4Network("10.0.0.0/24"), wake=lambda _: None)
        told: list[str] = []

        async def shut_out(user_id: str) -> None:
            told.append(f"out {user_id}")

        async def let_in(user_id: str) -> None:
            told.append(f"in {user_id}")

        accounts.on_disabled, accounts.on_enabled = shut_out, let_in
        await accounts.load()
        await runtimes.open(ben)
        token, _ = await sessions.issue(ben.id, SessionKind.DASHBOARD)
        status, out, err = await asyncio.to_thread(say, "disable", "Ben")
        assert (status, out, err) == (0, "ben: disabled.\n", "") and (data / "nudge").exists()
        runtime = await runtimes.of_owner(ben.id)
        assert runtime is not None and runtime.want is Want.STOPPED, "also where no control plane runs"
        assert accounts.user_of(token) is not None, "it has not looked yet"
        await accounts.reload()
        assert accounts.user_of(token) is None and told == ["out u-ben"]
        shown = json.loads((await asyncio.to_thread(say, "enable", "ben", "--json"))[1])
        assert (shown["login"], shown["is_disabled"]) == ("ben", False)
        await accounts.reload()
        await accounts.reload()
        assert told == ["out u-ben", "in u-ben"] and accounts.user_of(token) is None
        entries = await audit.latest()
        assert [(each.actor, each.action) for each in entries if each.subject == "ben"] == [
            (None, "enabled"),
            (None, "disabled"),
        ]

    _beside(data, beside)
    status, out, err = say("disable", "mia")
    assert (status, out) == (1, "") and "The owner cannot be disabled" in err


def test_whoever_is_made_a_viewer_from_a_shell_loses_what_a_viewer_has_not_and_signs_in_again(
    data: Path, say: Say
) -> None:
    async def beside(db: Database) -> None:
        ben = await _join(db, "ben", "Ben")
        sessions, audit, told = Sessions(db), Audit(db, b"key"), list[str]()
        accounts = Accounts(db, sessions, audit)
        runtimes = Runtimes(db, audit, pool=IPv4Network("10.0.0.0/24"), wake=lambda _: None)

        async def shut_out(user_id: str) -> None:
            told.append(f"out {user_id}")

        async def let_in(user_id: str) -> None:
            told.append(f"in {user_id}")

        accounts.on_disabled, accounts.on_enabled = shut_out, let_in
        await accounts.load()
        await runtimes.open(ben)
        token, _ = await sessions.issue(ben.id, SessionKind.DASHBOARD)
        assert await asyncio.to_thread(say, "role", "Ben", "viewer") == (0, "ben: viewer.\n", "")
        runtime = await runtimes.of_owner(ben.id)
        assert runtime is not None and runtime.want is Want.STOPPED and (data / "nudge").exists()
        await accounts.reload()
        assert accounts.user_of(token) is None and told == ["out u-ben"]
        token, _ = await sessions.issue(ben.id, SessionKind.DASHBOARD)
        shown = json.loads((await asyncio.to_thread(say, "role", "ben", "admin", "--json"))[1])
        assert (shown["login"], shown["role"]) == ("ben", "admin")
        await accounts.reload()
        await accounts.reload()
        assert accounts.user_of(token) is None and told == ["out u-ben", "in u-ben"]
        assert [(each.actor, each.detail) for each in await audit.latest() if each.action == "role changed"] == [
            (None, "from viewer to admin"),
            (None, "from member to viewer"),
        ]

    _beside(data, beside)
    status, _, err = say("role", "mia", "member")
    assert status == 1 and "There is one owner" in err
    assert say("owner", "ben") == (0, "ben: owner.\n", "")
    status, _, err = say("owner", "ben")
    assert status == 1 and "has to be an admin" in err
    assert json.loads(say("role", "mia", "member", "--json")[1])["role"] == "member"
    assert "no member 'eve'" in say("role", "eve", "admin")[2]


def test_the_list_has_the_fields_of_the_api_and_no_name_moves_the_cursor(data: Path, say: Say) -> None:
    async def fill(db: Database) -> None:
        await _join(db, "ben", "Ben\x1b[2J\u202e")
        async with db.transaction():
            for number in range(250):  # more than a page
                await _join(db, f"m{number}", "Somebody")

    _beside(data, fill)
    found = json.loads(say("list", "--json")[1])
    assert len(found) == 252 and [each["login"] for each in found[:2]] == ["mia", "ben"]
    assert set(found[0]) == set(Member.__struct_fields__)
    text = say("list")[1]
    assert text.splitlines()[0].split() == ["LOGIN", "NAME", "ROLE", "SECOND", "FACTOR", "TOKENS", "COST"]
    assert "Ben?[2J?" in text and "\x1b" not in text and "\u202e" not in text


def test_an_invitation_from_a_shell_is_listed_used_and_withdrawn(data: Path, say: Say) -> None:
    status, out, _ = say("invite", "--role", "admin", "--note", "Ken", "--json")
    made = json.loads(out)
    assert status == 0 and (made["role"], made["note"]) == ("admin", "Ken") and "/join/" in made["link"]
    assert "/join/" in say("invite")[1]
    second, first = json.loads(say("invitations", "--json")[1])
    assert (first["note"], first["invited_by"], second["role"]) == ("Ken", None, "member")
    assert made["link"].rpartition("/")[2] not in say("invitations", "--json")[1]
    assert say("withdraw", second["id"])[0] == 0
    assert say("invitations")[1].count("\n") == 2

    async def join(db: Database) -> None:
        accounts = Accounts(db, Sessions(db), Audit(db, b"key"))
        invitations = Invitations(db, accounts, Audit(db, b"key"), origin="http://x")
        await accounts.load()
        assert await invitations.setup_link() is None, "there is an owner"
        token = made["link"].rpartition("/")[2]
        user, _ = await invitations.accept(token, login="ken", name="Ken", password=OLD)
        assert user.role is Role.ADMIN

    _beside(data, join)
    assert json.loads(say("invitations", "--json")[1]) == []


def test_a_new_set_up_link_leaves_invitations_of_the_shell_as_they_are(data: Path, say: Say) -> None:
    async def nobody(db: Database) -> None:
        await db.execute("DELETE FROM users")

    _beside(data, nobody)
    assert say("invite")[0] == 0 and main(["setup-link"]) == 0 and main(["setup-link"]) == 0

    async def count(db: Database) -> None:
        rows = await db.fetch("SELECT role FROM invitations ORDER BY role")
        assert [each["role"] for each in rows] == ["member", "owner"]

    _beside(data, count)


def test_a_group_is_what_was_said_last_and_can_be_removed(data: Path, say: Say) -> None:
    async def fill(db: Database) -> None:
        await _join(db, "ben", "Ben")

    _beside(data, fill)
    assert say("group", "set", "Design", "ben", "mia", "--weight", "3")[:2] == (
        0,
        "Design: 2 in it, each with a share of 3.\n",
    )
    assert json.loads(say("group", "set", "Design", "mia", "--json")[1])["weight"] == 1
    (group,) = json.loads(say("group", "list", "--json")[1])
    assert group["name"] == "Design" and len(group["members"]) == 1 and group["weight"] == 1
    assert say("group", "list")[1].splitlines()[1].split() == ["Design", "1", "mia"]
    assert "no member 'eve'" in say("group", "set", "Design", "eve")[2]
    assert "A share is a number" in say("group", "set", "Design", "--weight", "99")[2]
    assert say("group", "remove", "Design")[0] == 0
    assert "there is no group 'Design'" in say("group", "remove", "Design")[2]
