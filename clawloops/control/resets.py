"""One-time links with which members set a new password: made by an admin, who is not told what they choose.

The member sees that it was used and who made it (`last_use`), so an admin who used one in their place is found out.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.factors import Factors
from clawloops.control.sessions import Sessions, digest
from clawloops.errors import Conflict, Forbidden, Gone, NotFound
from clawloops.finishing import finish
from clawloops.model.account import PasswordReset, Role, User
from clawloops.store import resets, users
from clawloops.store.db import Database

VALID_MS = 86_400_000
GONE_TEXT = "This link was used already or has expired. Ask for a new one."


class Resets:
    def __init__(
        self, db: Database, accounts: Accounts, factors: Factors, sessions: Sessions, audit: Audit, *, origin: str
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._factors = factors
        self._sessions = sessions
        self._audit = audit
        self._origin = origin

    async def make(self, user_id: str, *, drops_factors: bool, by: User) -> str:
        """A link for one member, good for a day and instead of an earlier one. Shown once: only its hash is kept."""
        user = self._accounts.get(user_id)
        if not by.may_invite:
            raise Forbidden("Only an admin can do this.")
        if user.id == by.id:
            raise Forbidden("Change your own password under Your account.")
        if user.role is Role.OWNER:
            raise Forbidden("The owner gets a new password on the box itself: clawloops member reset --help.")
        if user.disabled_at is not None:
            raise Conflict(f"{user.name} is disabled. Enable them first.")
        token, now = secrets.token_urlsafe(32), now_ms()
        made = PasswordReset(user.id, digest(token), drops_factors, by.id, now, now + VALID_MS)
        async with self._db.transaction():
            await resets.put(self._db, made)
            told = "and without second factors" if drops_factors else ""
            await self._audit.record(by.id, "link for a new password made", user.login, told)
        return f"{self._origin}/reset/{token}"

    async def withdraw(self, user_id: str, *, by: User) -> None:
        """Raises NotFound."""
        if not by.role.administers:
            raise Forbidden("Only an admin can do this.")
        async with self._db.transaction():
            if not await resets.withdraw(self._db, user_id):
                raise NotFound("There is no such link (any more). Reload the page.")
            await self._audit.record(by.id, "link for a new password withdrawn", self._accounts.get(user_id).login)

    async def open(self) -> dict[str, PasswordReset]:
        """Those that can still be used, by the id of their member."""
        return {each.user_id: each for each in await resets.open(self._db, now_ms())}

    async def peek(self, token: str) -> tuple[PasswordReset, User]:
        """The link, unused and in time, and whose it is. Raises Gone otherwise, whatever the reason."""
        found = await resets.by_token(self._db, digest(token))
        if found is None or found.used_at is not None or found.expires_at <= now_ms():
            raise Gone(GONE_TEXT)
        user, maker = self._accounts.get(found.user_id), self._accounts.get(found.made_by)
        if user.disabled_at is not None or user.role is Role.OWNER or not maker.may_invite:
            raise Gone(GONE_TEXT)
        return found, user

    async def use(self, token: str, password: str) -> None:
        """Set the password, and end every session of theirs. The link stays good when it was no password (BadInput)."""
        await self.peek(token)
        known = await self._accounts.hash(password)
        found, user = await self.peek(token)  # hashing takes a while
        await finish(self._set(found, user, known))

    async def last_use(self, user: User) -> tuple[int, User] | None:
        """When a member's password was last set with a link (Unix ms), and who had made that."""
        found = await resets.last_use(self._db, user.id)
        return (found[0], self._accounts.get(found[1])) if found is not None else None

    async def _set(self, found: PasswordReset, user: User, known: str) -> None:
        async with self._db.transaction():
            await resets.claim(self._db, found.token_hash, now_ms())
            await users.set_password(self._db, user.id, known)
            if found.drops_factors:
                await self._factors.drop_all(user.id)
            maker = self._accounts.get(found.made_by)
            await self._audit.record(user.id, "password set through a link", user.login, f"made by {maker.login}")
            await self._sessions.revoke_user(user.id)
        self._accounts.remember(replace(self._accounts.get(user.id), password_hash=known))
        await self._sessions.revoke_user(user.id)  # and of whoever was signing in meanwhile
        await self._factors.load()
