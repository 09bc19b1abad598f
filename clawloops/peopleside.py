"""Wiring of who may come in: accounts, and every way to show whose one is."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import aiohttp

from clawloops.background import Background
from clawloops.config import Settings
from clawloops.control.accounts import Accounts
from clawloops.control.arrivals import Arrivals
from clawloops.control.audit import Audit
from clawloops.control.factors import Factors
from clawloops.control.groups import Groups
from clawloops.control.handover import Handover
from clawloops.control.inspections import Inspections
from clawloops.control.invitations import Invitations
from clawloops.control.issuer import Issuers
from clawloops.control.keys import Keys
from clawloops.control.mailing import Mailing
from clawloops.control.passkeys import Party, Passkeys
from clawloops.control.resets import Resets
from clawloops.control.sessions import Sessions
from clawloops.control.smtp import Post, may_be_there
from clawloops.control.tokens import Tokens
from clawloops.errors import ClawLoopsError
from clawloops.store.db import Database
from clawloops.store.seal import Sealer
from clawloops.web.languages import language

SWEEP_EVERY_S = 60
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PeopleSide:
    accounts: Accounts
    invitations: Invitations
    sessions: Sessions
    factors: Factors
    passkeys: Passkeys
    resets: Resets
    mailing: Mailing
    issuers: Issuers
    arrivals: Arrivals
    handover: Handover
    inspections: Inspections
    tokens: Tokens

    async def load(self) -> None:
        """Read from the store what each request is answered from."""
        for each in (
            *(self.accounts, self.sessions, self.factors, self.issuers, self.inspections, self.tokens),
            self.mailing,
        ):
            await each.load()

    def look(self, background: Background) -> None:
        """The command line has changed something."""
        background.keep(self.accounts.reload())
        background.keep(self.factors.load())

    def keep_up(self, background: Background) -> None:
        """Begin what goes on beside the requests."""
        background.keep(self._sweep())
        background.keep(self.inspections.run())
        background.keep(self.mailing.run())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await self.accounts.reload()  # of a command that could not tell that it changed something
                await self.sessions.sweep()
                await self.tokens.sweep()
            except ClawLoopsError as error:
                log.error("sessions and tokens were not swept: %s", error)


def people_side(
    settings: Settings,
    db: Database,
    sealer: Sealer,
    *,
    audit: Audit,
    keys: Keys,
    groups: Groups,
    outward: aiohttp.ClientSession,
    link_key: bytes,
) -> PeopleSide:
    """`outward`: for calls to the identity provider; `link_key`: what links in e-mails are derived with."""
    sessions = Sessions(db)
    accounts = Accounts(db, sessions, audit)
    factors = Factors(db, sealer, sessions, audit, host=settings.base)
    inspections = Inspections(db, accounts, sessions, audit)
    invitations = Invitations(db, accounts, audit, origin=settings.origin, key=link_key)
    issuers = Issuers(db, sealer, audit, outward, origin=settings.origin)
    post = Post(name=settings.base, may_reach=lambda address: may_be_there(address, pool=settings.runtime_pool))
    return PeopleSide(
        accounts=accounts,
        invitations=invitations,
        sessions=sessions,
        factors=factors,
        passkeys=Passkeys(db, factors, audit, party=Party(settings.base, settings.origin)),
        resets=Resets(db, accounts, factors, sessions, audit, origin=settings.origin),
        mailing=Mailing(db, sealer, invitations, audit, post=post, base=settings.base, tongue=language),
        issuers=issuers,
        arrivals=Arrivals(
            db, issuers, accounts=accounts, sessions=sessions, invitations=invitations, groups=groups, audit=audit
        ),
        handover=Handover(sessions, inspections),
        inspections=inspections,
        tokens=Tokens(db, audit, keys),
    )
