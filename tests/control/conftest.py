"""The real services on a SQLite file; model backends are real servers on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.handover import Handover
from clawloops.control.invitations import Invitations
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.model.account import Role, User
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate

PASSWORD = "a long enough password"


@dataclass
class House:
    db: Database
    audit: Audit
    sessions: Sessions
    accounts: Accounts
    invitations: Invitations
    handover: Handover
    runtimes: Runtimes
    woken: list[str]

    async def join(self, login: str, *, role: Role = Role.MEMBER, by: User | None = None) -> tuple[User, str]:
        """A new account through a real link, and its dashboard cookie."""
        link = await self.invitations.invite(role=role, note="", by=by) if by else await self.invitations.setup_link()
        assert link is not None
        token = link.rsplit("/", 1)[1]
        return await self.invitations.accept(token, login=login, name=login.title(), password=PASSWORD)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_database(f"sqlite:///{tmp_path}/store.db")
    await migrate(database, backup_dir=tmp_path / "backups")
    yield database
    await database.close()


@pytest.fixture
async def house(db: Database) -> House:
    audit, sessions, woken = Audit(db, b"key"), Sessions(db), list[str]()
    accounts = Accounts(db, sessions, audit)
    return House(
        db=db,
        audit=audit,
        sessions=sessions,
        accounts=accounts,
        invitations=Invitations(db, accounts, audit, origin="http://clawloops.localhost"),
        handover=Handover(sessions),
        runtimes=Runtimes(db, audit, pool=IPv4Network("10.213.0.0/28"), wake=woken.append),
        woken=woken,
    )
