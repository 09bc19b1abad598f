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
from clawloops.finishing import finish
from clawloops.model.account import Role, Session, SessionKind, User
from clawloops.store import resets, users
from clawloops.store.db import Database

_LOGIN = re.compile(r"^[a-z][a-z0-9._-]{1,31}$")


class Accounts:
    def __init__(self, db: Database, sessions: Sessions, audit: Audit) -> None:
        self._db = db
        self._sessions = sessions
        self._audit = audit
        self._passwords = Passwords()
        self._throttle = Throttle()
        self._own_throttle = Throttle()  # of whoever is signed in: nobody outside can use it up
        self._users: dict[str, User] = {}
        self._changes = 0  # to `_users`
        self.on_disabled: Callable[[str], Awaitable[None]] | None = None  # user id; set by app.py
        self.on_enabled: Callable[[str], Awaitable[None]] | None = None  # user id; set by app.py

    async def load(self) -> None:
        while True:
            seen = self._changes
            found = await users.all(self._db)
            if seen == self._changes:  # or what was read may be older than what is known
                self._users = {user.id: user for user in found}
                return

    async def reload(self) -> None:
        """Follow what another process has changed: passwords and roles, and who was shut out or let in again."""
        before = self._users
        await self.load()
        for user in list(self._users.values()):
            old = before.get(user.id)
            if old is None:
                continue
            if (old.password_hash, old.role, old.disabled_at) != (user.password_hash, user.role, user.disabled_at):
                await self._sessions.revoke_user(user.id)
            await self._follow(old, user)

    @property
    def owner(self) -> User | None:
        return next((user for user in self._users.values() if user.role is Role.OWNER), None)

    def members(self) -> list[User]:
        """Everybody, oldest first."""
        return sorted(self._users.values(), key=lambda user: user.created_at)

    def get(self, user_id: str) -> User:
        try:
            return self._users[user_id]
        except KeyError:
            raise NotFound("There is no such member. Reload the page.") from None

    def knows(self, user: User) -> bool:
        """Whether nothing about a user found earlier has changed."""
        return self._users.get(user.id) is user

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

    def draft_without_password(self, wish: str, *, name: str, role: Role) -> User:
        """One for somebody who signs in elsewhere, not yet kept. `wish`: what their login is made of."""
        stem = re.sub(r"[^a-z0-9._-]", "", wish.partition("@")[0].lower()).lstrip("0123456789._-")[:28]
        stem = stem if _LOGIN.match(stem) else "member"
        logins = {each.login for each in self._users.values()}
        login = next(each for each in (stem, *(f"{stem}{n}" for n in range(2, 1000))) if each not in logins)
        user_id = "u" + secrets.token_hex(8)
        return User(user_id, login, name.strip()[:80] or login, role, "", None, now_ms())

    async def keep(self, user: User) -> None:
        """Write a drafted user down, in the caller's transaction. Raises BadInput when the login was taken since."""
        try:
            await users.add(self._db, user)
        except Conflict:
            raise _taken(user.login) from None

    def remember(self, user: User) -> None:
        """Take a committed user into memory: called after the transaction that made or changed it has ended."""
        self._users[user.id] = user
        self._changes += 1

    async def check_password(self, login: str, password: str, address: str) -> User:
        """Whose password this is. Raises TooManyAttempts and NotSignedIn, which say no more.

        Not enough to let somebody in: they may have a second factor (`Entrance`).
        """
        login = login.strip().lower()[:64]
        self._throttle.attempt(login, address)
        user = self._of_login(login)
        right = await self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not right or user.disabled_at is not None:
            await self.note_refused(user, login, address)
            raise NotSignedIn(
                "That login and password do not fit. Try again, or ask who runs this box for a new password."
            )
        self._throttle.succeeded(login, address)
        return user

    async def check_own_password(self, password: str, *, by: User, address: str, field: str = "") -> None:
        """That of a member who is signed in already. Raises BadInput with the field, and TooManyAttempts."""
        if not by.has_password:
            raise BadInput("You have no password here.", field=field)
        self._own_throttle.attempt(by.login, address)
        if not await self._passwords.verify(password, by.password_hash):
            await self._audit.record_refused(by.id, "password refused", by.login, address)
            raise BadInput("That is not your password.", field=field)
        self._own_throttle.succeeded(by.login, address)

    async def note_refused(self, user: User | None, said: str, address: str) -> None:
        """Somebody was not let in, who said to be `said`; `user` where there is such a member."""
        await self._audit.record_refused(user.id if user else None, "sign-in refused", said[:32], address)

    async def begin_session(
        self, user: User, *, how: str = "", address: str = "", browser: str = "", proved_at: int | None = None
    ) -> str:
        """The token of a new dashboard session. `browser`, `address`: what its owner will recognise it by.

        `proved_at`: when they have proven themselves (Unix ms), if that was not just now.
        Raises NotSignedIn when `user` got another password or was disabled since they have proved themselves.
        """
        token, session = await self._sessions.issue(
            user.id, SessionKind.DASHBOARD, browser=browser, address=address, proved_at=proved_at
        )
        now = self._users.get(user.id)
        if now is None or now.disabled_at is not None or now.password_hash != user.password_hash:
            await self._sessions.revoke(session)
            raise NotSignedIn("Your account was changed just now. Sign in again.")
        await self._audit.record(user.id, "signed in", user.login, how)
        return token

    async def map_role(self, user: User, role: Role, *, why: str) -> User:
        """As the identity provider says with a sign-in, which ends every session from before; a viewer stays one.

        Raises Forbidden for the owner's, and to make one.
        """
        if Role.OWNER in (user.role, role):
            raise Forbidden("The owner is made and kept on this box alone.")
        async with self._db.transaction():
            now = await users.get(self._db, user.id)  # an admin may have changed it meanwhile
            if now is None or now.role in (role, Role.VIEWER):
                return self.get(user.id)
            await users.set_role(self._db, user.id, role)
            await self._audit.record(user.id, "role changed", user.login, f"from {now.role} to {role}, {why}")
        self.remember(replace(self.get(user.id), role=role))
        await self._sessions.revoke_user(user.id)
        return self.get(user.id)

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
        """Change one's own, and end every session but this one, and a link for a new one that nobody has used.

        Raises BadInput with the field, and TooManyAttempts.
        """
        await self.check_own_password(current, by=by, address=address, field="current")
        known = await self._passwords.hash(password)
        async with self._db.transaction():
            await users.set_password(self._db, by.id, known)
            await resets.withdraw(self._db, by.id)
            await self._audit.record(by.id, "password changed", by.login)
            await self.end_other_sessions(keep, by=by)
        self.remember(replace(self.get(by.id), password_hash=known))
        for session in self._sessions.of(by.id):  # of whoever was signing in with the old one meanwhile
            if session.hash != keep.hash:
                await self._sessions.revoke(session)

    async def hash(self, password: str) -> str:
        """What is kept of a new password. Raises BadInput for field `password`."""
        return await self._passwords.hash(password)

    async def new_password(
        self, login: str, *, also: Callable[[User], Awaitable[None]] | None = None
    ) -> tuple[User, str]:
        """A random one for somebody who forgot theirs; every session of theirs ends, and a link for a new one.

        Raises NotFound. `also` is done to them in the same transaction.
        """
        user = self.of_login(login)
        password = secrets.token_urlsafe(15)
        known = await self._passwords.hash(password)
        async with self._db.transaction():
            await users.set_password(self._db, user.id, known)
            await resets.withdraw(self._db, user.id)
            await self._sessions.revoke_user(user.id)
            await self._audit.record(None, "password reset from a shell", user.login)
            if also is not None:
                await also(user)
        self.remember(replace(user, password_hash=known))
        await self._sessions.revoke_user(user.id)  # and of whoever was signing in meanwhile
        return self._users[user.id], password

    async def disable(self, user_id: str, *, by: User) -> None:
        """Shut a member out now: sessions, workspace sockets, keys and the model token end, the runtime is stopped."""
        user = self.get(user_id)
        if user.role is Role.OWNER:
            raise Forbidden("The owner cannot be disabled.")
        await finish(self._shut_out(user, by))  # whole, also when whoever asked for it leaves

    async def _shut_out(self, user: User, by: User) -> None:
        await self._set_disabled(user, now_ms(), by)
        await self._sessions.revoke_user(user.id)
        if self.on_disabled is not None:
            await self.on_disabled(user.id)

    async def enable(self, user_id: str, *, by: User) -> None:
        await self._set_disabled(self.get(user_id), None, by)
        if self.on_enabled is not None and self.get(user_id).may_work:
            await self.on_enabled(user_id)

    async def set_role(self, user_id: str, role: Role, *, by: User) -> None:
        """Make somebody an admin, a member or a viewer. They sign in again; of a viewer all ends that `disable` ends.

        Raises Forbidden, and BadInput with the field.
        """
        user = self.get(user_id)
        if not by.role.administers:
            raise Forbidden("Only an admin can do this.")
        if user.id == by.id:
            raise Forbidden("Nobody changes their own role. Ask another admin.")
        if Role.OWNER in (user.role, role):
            raise BadInput("There is one owner, who can hand the box over. Choose another role.", field="role")
        if role is not user.role:
            await finish(self._change_role(user, role, by))

    async def _change_role(self, user: User, role: Role, by: User) -> None:
        async with self._db.transaction():
            await users.set_role(self._db, user.id, role)
            await self._audit.record(by.id, "role changed", user.login, f"from {user.role} to {role}")
        self.remember(now := replace(self.get(user.id), role=role))
        await self._sessions.revoke_user(user.id)
        await self._follow(user, now)

    async def hand_over(self, user_id: str, *, by: User) -> None:
        """Make an admin the owner, and the owner an admin; the new one signs in again.

        Raises Forbidden, Conflict, and BadInput for who could not keep the box: an owner's password always signs in.
        """
        if by.role is not Role.OWNER:
            raise Forbidden("Only the owner can hand this box over.")
        heir, owner = self.get(user_id), self.owner
        if heir.role is not Role.ADMIN or heir.disabled_at is not None or not heir.has_password:
            raise BadInput("The next owner has to be an admin who signs in with a password here.")
        if owner is not None:
            await finish(self._hand_over(owner, heir, by))

    async def _hand_over(self, owner: User, heir: User, by: User) -> None:
        roles = {owner.id: Role.ADMIN, heir.id: Role.OWNER}
        async with self._db.transaction():
            for each in (owner, heir):
                if await users.get(self._db, each.id) != each:  # also disabled, or with another password
                    raise Conflict("Roles were changed meanwhile. Reload the page.")
                await users.set_role(self._db, each.id, roles[each.id])
            await resets.withdraw(self._db, heir.id)  # no other admin's link opens an owner's account
            await self._audit.record(by.id, "ownership handed over", heir.login, f"from {owner.login}")
        for each in (owner, heir):
            self.remember(replace(self.get(each.id), role=roles[each.id]))
        await self._sessions.revoke_user(heir.id)

    async def _follow(self, before: User, now: User) -> None:
        """End what somebody has going who may no longer work, or give it back."""
        follow = self.on_enabled if now.may_work else self.on_disabled
        if follow is not None and now.may_work is not before.may_work:
            await follow(now.id)

    def of_login(self, login: str) -> User:
        """As somebody at a shell names a member. Raises NotFound."""
        user = self._of_login(login.strip().lower())
        if user is None:
            raise NotFound(f"There is no member {login!r}; clawloops member list shows logins.")
        return user

    def _of_login(self, login: str) -> User | None:
        return next((each for each in self._users.values() if each.login == login), None)

    async def _set_disabled(self, user: User, at: int | None, by: User) -> None:
        if not by.role.administers:
            raise Forbidden("Only an admin can do this.")
        await users.set_disabled(self._db, user.id, at)
        fresh = await users.get(self._db, user.id)
        if fresh is not None:
            self.remember(fresh)
        await self._audit.record(by.id, "enabled" if at is None else "disabled", user.login)


def _taken(login: str) -> BadInput:
    return BadInput(f"The login {login!r} is taken. Choose another one.", field="login")
