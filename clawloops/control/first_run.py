"""The first three steps of a box: how far they are is read off what is there; only what was passed over is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.factors import Factors
from clawloops.control.invitations import Invitations
from clawloops.control.ledger import Ledger
from clawloops.control.models import Models
from clawloops.errors import Forbidden
from clawloops.model.account import User
from clawloops.store import meta
from clawloops.store.db import Database

_DISMISSED = "first-run"  # in `meta`; a step that was skipped stands there as "first-run:STEP"


class Step(StrEnum):
    ADMIN = "admin"  # the owner has a second factor
    MODEL = "model"  # a model has answered through the gateway
    INVITE = "invite"  # somebody else is here, or has a link


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the first run is."""

    done: frozenset[Step]
    skipped: frozenset[Step]
    is_dismissed: bool

    @property
    def next(self) -> Step | None:
        """The first step that is neither done nor skipped."""
        return next((each for each in Step if each not in self.done and each not in self.skipped), None)

    @property
    def is_over(self) -> bool:
        """Whether nobody is led to it any more; it can be come back to all the same."""
        return self.is_dismissed or self.next is None


class FirstRun:
    """One for the whole box: its owner's second factor, its models, its members."""

    def __init__(
        self,
        db: Database,
        audit: Audit,
        *,
        accounts: Accounts,
        factors: Factors,
        models: Models,
        invitations: Invitations,
        ledger: Ledger,
    ) -> None:
        self._db = db
        self._audit = audit
        self._accounts = accounts
        self._factors = factors
        self._models = models
        self._invitations = invitations
        self._ledger = ledger
        self.is_open = False  # whether somebody is still led there, as of the last look
        self._answered: frozenset[str] = frozenset()  # public names that have answered, as far as it was looked

    async def load(self) -> None:
        """Look once, for `is_open`."""
        await self.standing()

    async def standing(self) -> Standing:
        """Read off the box as it is now."""
        tests = {Step.ADMIN: self._has_factor, Step.MODEL: self._has_answered, Step.INVITE: self._has_invited}
        kept = await meta.which(self._db, [_DISMISSED, *map(_key, Step)])
        standing = Standing(
            done=frozenset([step for step, test in tests.items() if await test()]),
            skipped=frozenset(each for each in Step if _key(each) in kept),
            is_dismissed=_DISMISSED in kept,
        )
        self.is_open = not standing.is_over
        return standing

    async def skip(self, step: Step, *, by: User) -> None:
        """Pass over a step. Once it is done all the same, it counts as done."""
        await self._keep(_key(step), "first-run step skipped", step, by)

    async def dismiss(self, *, by: User) -> None:
        """Lead nobody there any more."""
        await self._keep(_DISMISSED, "first run dismissed", "", by)

    async def _keep(self, key: str, action: str, subject: str, by: User) -> None:
        if not by.role.administers:
            raise Forbidden("Only an admin can do this.")
        async with self._db.transaction():
            if await meta.put_first(self._db, key, "yes"):  # otherwise another tab was first
                await self._audit.record(by.id, action, subject)

    async def _has_factor(self) -> bool:
        owner = self._accounts.owner
        return owner is not None and self._factors.is_held_by(owner.id)

    async def _has_answered(self) -> bool:
        """What has answered once is not looked up again: its calls stay in the books."""
        names = {each.name for each in self._models.names()}
        if names and not names & self._answered:
            self._answered = await self._ledger.answered()
        return bool(names & self._answered)

    async def _has_invited(self) -> bool:
        return len(self._accounts.members()) > 1 or bool(await self._invitations.open())


def _key(step: Step) -> str:
    return f"{_DISMISSED}:{step}"
