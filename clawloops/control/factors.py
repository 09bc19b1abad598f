"""Second factors of members: the authenticator app, recovery codes, and of whom this box demands a factor at all.

A code counts once, also when it is sent twice at the same moment. Guesses are counted apart from those of passwords:
who knows a password must not be able to begin anew with every sign-in.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass

from clawloops.clock import now_ms, steady_ms
from clawloops.control import totp
from clawloops.control.audit import Audit
from clawloops.control.sessions import Sessions, digest
from clawloops.control.throttle import Throttle
from clawloops.errors import BadInput, Forbidden
from clawloops.model.account import Role, Session, User
from clawloops.model.factor import Requirement, Standing
from clawloops.store import authenticators, meta, passkeys, recovery
from clawloops.store.authenticators import Authenticator
from clawloops.store.db import Database
from clawloops.store.seal import Sealer

CODES = 10
SETUP_VALID_MS = 10 * 60_000
_REQUIREMENT = "accounts:second-factor"  # in `meta`
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's Base32: nothing in it is read as something else
_LENGTH = 24  # 120 bits: so much that one SHA-256 is enough to keep them (ASVS 5.0, V6.5.2)


@dataclass(frozen=True, slots=True)
class AppSetup:
    """What an authenticator app is told, before a code of it has confirmed that it was."""

    secret: str  # Base32
    address: str  # the same with names, for the QR code


def place_of(user_id: str) -> dict[str, str]:
    """What the secret of a member's app is sealed for."""
    return {"table": authenticators.TABLE, "provider": "totp", "owner": user_id}


class Factors:
    def __init__(self, db: Database, sealer: Sealer, sessions: Sessions, audit: Audit, *, host: str) -> None:
        """`host`: the dashboard's, by which members recognise the entry in their app."""
        self._db = db
        self._sealer = sealer
        self._sessions = sessions
        self._audit = audit
        self._host = host
        self._throttle = Throttle()
        self._begun: dict[bytes, tuple[AppSetup, int]] = {}  # by session
        self._reading = asyncio.Lock()
        self._holders: frozenset[str] = frozenset()
        self.requirement = Requirement.OFF

    async def load(self) -> None:
        """Read anew who has a factor and who needs one; whoever calls it last has seen what was committed before."""
        async with self._reading:
            self._holders = await recovery.holders(self._db)
            self.requirement = Requirement(await meta.get(self._db, _REQUIREMENT) or Requirement.OFF)

    def is_held_by(self, user_id: str) -> bool:
        """Whether a member has a second factor. Memory only: signing in asks the store (`of`)."""
        return user_id in self._holders

    def is_missing(self, user: User) -> bool:
        """Whether this box demands a second factor of a member who has none. Memory only."""
        return self.requirement.covers(user.role) and user.id not in self._holders

    async def of(self, user_id: str) -> Standing:
        app = await authenticators.get(self._db, user_id)
        left, last = await recovery.count(self._db, user_id)
        return Standing(
            app_since=app.created_at if app else None,
            passkeys=tuple(await passkeys.of(self._db, user_id)),
            codes_left=left,
            code_used_at=last,
        )

    def begin_app(self, *, by: User, session: Session) -> AppSetup:
        """A new secret for an app. It counts once `confirm_app` was given a code; until then this session knows it."""
        now, secret = steady_ms(), totp.new_secret()
        self._begun = {key: each for key, each in self._begun.items() if each[1] > now}
        setup = AppSetup(secret, totp.address_of(secret, issuer="ClawLoops", name=f"{by.login}@{self._host}"))
        self._begun[session.hash] = setup, now + SETUP_VALID_MS
        return setup

    def app_begun(self, session: Session) -> AppSetup:
        """What this session is setting up. Raises BadInput."""
        setup, ends = self._begun.get(session.hash, (None, 0))
        if setup is None or ends <= steady_ms():
            raise BadInput("This took too long. Begin anew with setting up the app.")
        return setup

    async def confirm_app(self, code: str, *, by: User, session: Session) -> list[str]:
        """The app counts from now on, instead of one before. Raises BadInput.

        Returns recovery codes when these are the member's first ones.
        """
        setup = self.app_begun(session)
        step = totp.step_of(setup.secret, _plain(code), now=now_ms())
        if step is None:
            raise BadInput("That is not the code of this moment. Is the clock of the device right?", field="code")
        async with self._db.transaction():
            before = await authenticators.get(self._db, by.id)
            version = before.sealed.version + 1 if before else 1
            sealed = self._sealer.seal(setup.secret, credential_id=by.id, version=version, **place_of(by.id))
            await authenticators.put(self._db, Authenticator(sealed, now_ms()), used_step=step)
            codes = await self.first_codes(by)
            await self._audit.record(by.id, "authenticator app set up", by.login)
        self._begun.pop(session.hash, None)
        await self.load()
        return codes

    async def remove_app(self, *, by: User) -> None:
        async with self._db.transaction():
            if not await authenticators.delete(self._db, by.id):
                return
            await self._audit.record(by.id, "authenticator app removed", by.login)
            await self.drop_unneeded_codes(by)
        await self.load()

    async def renew_codes(self, *, by: User) -> list[str]:
        """Ten new recovery codes, instead of all before. Raises BadInput for a member without a second factor."""
        async with self._db.transaction():
            if not (await self.of(by.id)).has_factor:
                raise BadInput("Set up an authenticator app or a passkey first.")
            return await self._make_codes(by)

    async def first_codes(self, user: User) -> list[str]:
        """In the caller's transaction: recovery codes for a member who has none yet, otherwise nothing."""
        return [] if await recovery.exist(self._db, user.id) else await self._make_codes(user)

    async def drop_unneeded_codes(self, user: User) -> None:
        """In the caller's transaction: with the last factor its recovery codes end."""
        if not (await self.of(user.id)).has_factor:
            await recovery.delete_user(self._db, user.id)

    async def check_code(self, code: str, *, of: User, address: str) -> str:
        """Use up a code of the app, or a recovery code; returns its name. Raises BadInput and TooManyAttempts."""
        self._throttle.attempt(of.login, address)
        given = _plain(code)
        if re.fullmatch(rf"\d{{{totp.DIGITS}}}", given, re.ASCII):
            name, is_right = "a code", await self._use_step(of.id, given)
        else:
            name, is_right = "a recovery code", await self._use_recovery(of, given)
        if not is_right:
            await self._audit.record_refused(of.id, "code refused", of.login, address)
            raise BadInput("That code is not right, or was used already. Try the next one.", field="code")
        self._throttle.succeeded(of.login, address)
        return name

    async def clear(self, user: User, *, by: User | None) -> None:
        """Remove every second factor of somebody who lost theirs, and end their sessions. `by` None: from a shell."""
        if by is not None and not by.role.administers:
            raise Forbidden("Only an admin can do this.")
        if by is not None and user.role is Role.OWNER:
            raise Forbidden("The owner's second factors are removed on the box: clawloops member reset --help.")
        async with self._db.transaction():
            await self.drop_all(user.id)
            await self._audit.record(by.id if by else None, "second factors removed", user.login)
            await self._sessions.revoke_user(user.id)
        await self.load()

    async def drop_all(self, user_id: str) -> None:
        """In the caller's transaction, who calls `load` after it: a member has no second factor any more."""
        await authenticators.delete(self._db, user_id)
        await passkeys.delete_user(self._db, user_id)
        await recovery.delete_user(self._db, user_id)

    async def require(self, requirement: Requirement, *, by: User) -> None:
        """Of whom a second factor is demanded from their next page on."""
        if not by.role.administers:
            raise Forbidden("Only an admin can do this.")
        async with self._db.transaction():
            await meta.put(self._db, _REQUIREMENT, requirement.value)
            await self._audit.record(by.id, "second factor required", requirement.value)
        await self.load()

    async def _use_step(self, user_id: str, code: str) -> bool:
        app = await authenticators.get(self._db, user_id)
        if app is None:
            return False
        step = totp.step_of(self._sealer.open(app.sealed, **place_of(user_id)), code, now=now_ms())
        return step is not None and await authenticators.use_step(self._db, user_id, app.sealed.version, step)

    async def _use_recovery(self, user: User, code: str) -> bool:
        async with self._db.transaction():
            if not await recovery.use(self._db, user.id, digest(code), at=now_ms()):
                return False
            left, _ = await recovery.count(self._db, user.id)
            await self._audit.record(user.id, "recovery code used", user.login, f"{left} left")
        return True

    async def _make_codes(self, user: User) -> list[str]:
        codes = ["".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)) for _ in range(CODES)]
        await recovery.replace(self._db, user.id, [digest(each) for each in codes])
        await self._audit.record(user.id, "recovery codes made", user.login)
        return ["-".join(each[at : at + 6] for at in range(0, _LENGTH, 6)) for each in codes]


def _plain(code: str) -> str:
    """A code as it was made, from what somebody typed: without gaps, and with letters that look alike put right."""
    return re.sub(r"[\s-]", "", code[:64]).lower().translate(str.maketrans("oil", "011"))
