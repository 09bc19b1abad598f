"""One-time links that make accounts: the installer's set-up link (it makes the owner) and members' invitations."""

from __future__ import annotations

import secrets

from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.sessions import digest
from clawloops.errors import BadInput, Forbidden, Gone
from clawloops.model.account import Invitation, Role, User
from clawloops.store import invitations
from clawloops.store.db import Database

DAY_MS = 86_400_000
SETUP_VALID_MS = DAY_MS
MEMBER_VALID_MS = 7 * DAY_MS
GONE_TEXT = "This link was used already or has expired. Ask for a new one."


class Invitations:
    def __init__(self, db: Database, accounts: Accounts, audit: Audit, *, origin: str) -> None:
        self._db = db
        self._accounts = accounts
        self._audit = audit
        self._origin = origin

    async def invite(self, *, role: Role, note: str, by: User) -> str:
        """A link for one new member, good for 7 days. Shown once: only its hash is kept."""
        if not by.may_invite:
            raise Forbidden("Only an admin can invite members.")
        if role is Role.OWNER:
            raise BadInput("There is one owner; invite a member or an admin.", field="role")
        if len(note) > 120:
            raise BadInput("Keep the note under 120 characters.", field="note")
        link = await self._add(role, note.strip(), by.id, MEMBER_VALID_MS)
        await self._audit.record(by.id, "invited", role, note.strip())
        return link

    async def setup_link(self) -> str | None:
        """A fresh link that makes the owner, good for one day; earlier ones end. None once there is an owner."""
        await self._accounts.load()
        if self._accounts.has_owner:
            return None
        async with self._db.transaction():
            await invitations.delete_unused_setup(self._db)
            return await self._add(Role.OWNER, "", None, SETUP_VALID_MS)

    async def open(self) -> list[Invitation]:
        """Links that can still be used, newest first."""
        now = now_ms()
        return [
            each
            for each in await invitations.all(self._db)
            if each.used_at is None and each.expires_at > now and each.invited_by is not None
        ]

    async def withdraw(self, invitation_id: str, *, by: User) -> None:
        if not by.role.administers:
            raise Forbidden("Only an admin can withdraw an invitation.")
        await invitations.delete(self._db, invitation_id)
        await self._audit.record(by.id, "invitation withdrawn", invitation_id)

    async def peek(self, token: str) -> Invitation:
        """The invitation behind a link, unused and in time. Raises Gone otherwise, whatever the reason."""
        found = await invitations.by_token(self._db, digest(token))
        if found is None or found.used_at is not None or found.expires_at <= now_ms():
            raise Gone(GONE_TEXT)
        if found.role is Role.OWNER and self._accounts.has_owner:
            raise Gone("This box has its owner already. Sign in instead.")
        if found.invited_by is not None and not self._accounts.get(found.invited_by).may_invite:
            raise Gone(GONE_TEXT)
        return found

    async def accept(
        self, token: str, *, login: str, name: str, password: str, address: str = "", browser: str = ""
    ) -> tuple[User, str]:
        """Make the account, and a dashboard session for it. The link stays good when a field was wrong (BadInput)."""
        found = await self.peek(token)
        user = await self._accounts.draft(login=login, name=name, password=password, role=found.role)
        async with self._db.transaction():
            await self._accounts.keep(user)
            await invitations.claim(self._db, found.id, now_ms())
            await invitations.set_used_by(self._db, found.id, user.id)
        self._accounts.remember(user)
        await self._audit.record(user.id, "joined", user.login, f"as {found.role}")
        return user, await self._accounts.begin_session(user, address=address, browser=browser)

    async def _add(self, role: Role, note: str, by: str | None, valid_ms: int) -> str:
        token, now = secrets.token_urlsafe(32), now_ms()
        await invitations.add(
            self._db,
            Invitation(
                id="i" + secrets.token_hex(8),
                token_hash=digest(token),
                role=role,
                note=note,
                invited_by=by,
                created_at=now,
                expires_at=now + valid_ms,
                used_at=None,
                used_by=None,
            ),
        )
        return f"{self._origin}/join/{token}"
