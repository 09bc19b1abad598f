"""People and how they prove who they are. Users are answered from memory; every change is committed first."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.passwords import Passwords
from clawloops.control.sessions import Sessions
from clawloops.control.throttle import Throttle
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound, NotSignedIn
from clawloops.model.account import Role, Session, SessionKind, User
from clawloops.store import users
from clawloops.store.db import Database

_LOGIN = re.compile(r"^[a-z][a-z0-9._-]{1,31}$")


class Accounts:
    def __init__(self, db: Database, sessions: Sessions, audit: Audit) -> None:
        self._db = db
        self._sessions = sessions
        self._audit = audit
        self._passwords = Passwords()
        self._throttle = Throttle()
        self._users: dict[str, User] = {}
        self.on_disabled: Callable[[str], Awaitable[None]] | None = None  # user id; set by app.py
        self.on_enabled: Callable[[str], Awaitable[None]] | None = None  # user id; set by app.py

    async def load(self) -> None:
        self._users = {user.id: user for user in await users.all(self._db)}

    async def reload(self) -> None:
        """Follow what another process has changed: sessions of whoever has another password now end."""
        before = self._users
        await self.load()
        for user in self._users.values():
            if user.id in before and before[user.id].password_hash != user.password_hash:
                await self._sessions.revoke_user(user.id)

    @property
    def has_owner(self) -> bool:
        return any(user.role is Role.OWNER for user in self._users.values())

    def members(self) -> list[User]:
        """Everybody, oldest first."""
        return sorted(self._users.values(), key=lambda user: user.created_at)

    def get(self, user_id: str) -> User:
        try:
            return self._users[user_id]
        except KeyError:
            raise NotFound("There is no such member. Reload the page.") from None

    def user_of(self, token: str) -> tuple[User, Session] | None:
        """Who holds this dashboard cookie, or None. Memory only."""
        session = self._sessions.find(token, SessionKind.DASHBOARD)
        if session is None:
            return None
        user = self._users.get(session.user_id)
        return (user, session) if user is not None and user.disabled_at is None else None

    async def draft(self, *, login: str, name: str, password: str, role: Role) -> User:
        """A checked user that is not yet kept. Raises BadInput with the field that is wrong."""
        login, name = login.strip().lower(), name.strip()
        if not _LOGIN.match(login):
            raise BadInput(
                "A login has 2 to 32 characters: a letter first, then letters, digits, dots, dashes.", field="login"
            )
        if self._of_login(login) is not None:
            raise _taken(login)
        if not 1 <= len(name) <= 80:
            raise BadInput("Give a name of 1 to 80 characters.", field="name")
        return User(
            id="u" + secrets.token_hex(8),
            login=login,
            name=name,
            role=role,
            password_hash=await self._passwords.hash(password),
            disabled_at=None,
            created_at=now_ms(),
        )

    async def keep(self, user: User) -> None:
        """Write a drafted user down, in the caller's transaction. Raises BadInput when the login was taken since."""
        try:
            await users.add(self._db, user)
        except Conflict:
            raise _taken(user.login) from None

    def remember(self, user: User) -> None:
        """Take a committed user into memory: called after the transaction that made it has ended."""
        self._users[user.id] = user

    async def sign_in(self, login: str, password: str, address: str, *, browser: str = "") -> tuple[User, str]:
        """Check a password and begin a dashboard session. Raises TooManyAttempts and NotSignedIn, which say no more."""
        login = login.strip().lower()[:64]
        self._throttle.attempt(login, address)
        user = self._of_login(login)
        right = await self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not right or user.disabled_at is not None:
            await self._audit.record(user.id if user else None, "sign-in refused", login[:32], address)
            raise NotSignedIn(
                "That login and password do not fit. Try again, or ask who runs this box for a new password."
            )
        self._throttle.succeeded(login, address)
        return user, await self.begin_session(user, address=address, browser=browser)

    async def begin_session(self, user: User, *, address: str = "", browser: str = "") -> str:
        """The token of a new dashboard session. `browser`, `address`: what its owner will recognise it by."""
        token, _ = await self._sessions.issue(user.id, SessionKind.DASHBOARD, browser=browser, address=address)
        await self._audit.record(user.id, "signed in", user.login)
        return token

    async def sign_out(self, session: Session) -> None:
        await self._sessions.revoke(session)
        await self._audit.record(session.user_id, "signed out", session.user_id)

    def sessions_of(self, user: User) -> list[Session]:
        """Where a member is signed in now, latest use first."""
        return self._sessions.of(user.id)

    async def end_session(self, session_id: str, *, by: User) -> None:
        """End one of one's own sessions, with the workspace pages it has opened. Raises NotFound."""
        session = next((each for each in self._sessions.of(by.id) if each.id == session_id), None)
        if session is None:
            raise NotFound("That browser is signed out already.")
        await self._sessions.revoke(session)
        await self._audit.record(by.id, "session ended", by.login, session.browser)

    async def end_other_sessions(self, keep: Session, *, by: User) -> None:
        """End all of one's own sessions but this one."""
        for session in self._sessions.of(by.id):
            if session.hash != keep.hash:
                await self._sessions.revoke(session)
        await self._audit.record(by.id, "other sessions ended", by.login)

    async def change_password(self, current: str, password: str, *, by: User, keep: Session, address: str) -> None:
        """Change one's own, and end every session but this one. Raises BadInput with the field, and TooManyAttempts."""
        self._throttle.attempt(by.login, address)
        if not await self._passwords.verify(current, by.password_hash):
            await self._audit.record(by.id, "password change refused", by.login, address)
            raise BadInput("That is not your password.", field="current")
        self._throttle.succeeded(by.login, address)
        known = await self._passwords.hash(password)
        async with self._db.transaction():
            await users.set_password(self._db, by.id, known)
            await self._audit.record(by.id, "password changed", by.login)
            await self.end_other_sessions(keep, by=by)
        self._users[by.id] = replace(self.get(by.id), password_hash=known)

    async def new_password(self, login: str) -> tuple[User, str]:
        """A random one for somebody who forgot theirs; every session of theirs ends. Raises NotFound."""
        user = self._of_login(login.strip().lower())
        if user is None:
            raise NotFound(f"There is no member {login!r}; clawloops runtime list shows logins.")
        password = secrets.token_urlsafe(15)
        known = await self._passwords.hash(password)
        async with self._db.transaction():
            await users.set_password(self._db, user.id, known)
            await self._sessions.revoke_user(user.id)
            await self._audit.record(None, "password reset from a shell", user.login)
        self._users[user.id] = replace(user, password_hash=known)
        return self._users[user.id], password

    async def disable(self, user_id: str, *, by: User) -> None:
        """Shut a member out now: sessions, workspace sockets, keys and the model token end, the runtime is stopped."""
        user = self.get(user_id)
        if user.role is Role.OWNER:
            raise Forbidden("The owner cannot be disabled.")
        await self._set_disabled(user, now_ms(), by)
        await self._sessions.revoke_user(user_id)
        if self.on_disabled is not None:
            await self.on_disabled(user_id)

    async def enable(self, user_id: str, *, by: User) -> None:
        await self._set_disabled(self.get(user_id), None, by)
        if self.on_enabled is not None:
            await self.on_enabled(user_id)

    def _of_login(self, login: str) -> User | None:
        return next((each for each in self._users.values() if each.login == login), None)

    async def _set_disabled(self, user: User, at: int | None, by: User) -> None:
        if not by.role.administers:
            raise Forbidden("Only an admin can do this.")
        await users.set_disabled(self._db, user.id, at)
        fresh = await users.get(self._db, user.id)
        if fresh is not None:
            self._users[user.id] = fresh
        await self._audit.record(by.id, "enabled" if at is None else "disabled", user.login)


def _taken(login: str) -> BadInput:
    return BadInput(f"The login {login!r} is taken. Choose another one.", field="login")
