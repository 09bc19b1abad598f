"""The real services on a SQLite file; model backends are real servers on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import aiohttp
import pytest

from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.entrance import Entrance
from clawloops.control.factors import Factors
from clawloops.control.handover import Handover
from clawloops.control.inspections import Inspections
from clawloops.control.invitations import Invitations
from clawloops.control.issuer import Issuers
from clawloops.control.passkeys import Party, Passkeys
from clawloops.control.resets import Resets
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.model.account import Role, User
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from clawloops.store.seal import Sealer

PASSWORD = "a long enough password"


@dataclass
class House:
    db: Database
    audit: Audit
    sessions: Sessions
    accounts: Accounts
    factors: Factors
    entrance: Entrance
    invitations: Invitations
    resets: Resets
    sealer: Sealer
    handover: Handover
    inspections: Inspections
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
async def house(db: Database) -> AsyncIterator[House]:
    async with aiohttp.ClientSession() as outward:
        yield _house(db, outward)


def _house(db: Database, outward: aiohttp.ClientSession) -> House:
    audit, sessions, woken = Audit(db, b"key"), Sessions(db), list[str]()
    accounts = Accounts(db, sessions, audit)
    sealer = Sealer(bytes(32), install_id="0a1b2c3d")
    invitations = Invitations(db, accounts, audit, origin="http://clawloops.localhost", key=b"key of links")
    issuers = Issuers(db, sealer, audit, outward, origin="http://clawloops.localhost")
    factors = Factors(db, sealer, sessions, audit, host="clawloops.localhost")
    passkeys = Passkeys(db, factors, audit, party=Party("clawloops.localhost", "http://clawloops.localhost"))
    inspections = Inspections(db, accounts, sessions, audit)
    return House(
        db=db,
        audit=audit,
        sessions=sessions,
        accounts=accounts,
        factors=factors,
        entrance=Entrance(accounts, factors, passkeys, sessions, issuers),
        invitations=invitations,
        resets=Resets(db, accounts, factors, sessions, audit, origin="http://clawloops.localhost"),
        sealer=sealer,
        handover=Handover(sessions, inspections),
        inspections=inspections,
        runtimes=Runtimes(db, audit, pool=IPv4Network("10.213.0.0/27"), wake=woken.append),
        woken=woken,
    )
