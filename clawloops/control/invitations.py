"""One-time links that make accounts: the installer's set-up link (it makes the owner) and members' invitations.

A link is a random one that its inviter is shown once. One that is sent by e-mail is derived from a key of this box and
the invitation's id instead: so each try sends the same link, also after a restart, and it is kept nowhere.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence

from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.sessions import digest
from clawloops.errors import BadInput, Conflict, Forbidden, Gone, NotFound
from clawloops.model.account import Guest, Invitation, Role, User
from clawloops.model.mail import Delivery, DeliveryState, is_address
from clawloops.store import deliveries, groups, invitations
from clawloops.store.db import Database

DAY_MS = 86_400_000
SETUP_VALID_MS = DAY_MS
MEMBER_VALID_MS = 7 * DAY_MS
GONE_TEXT = "This link was used already or has expired. Ask for a new one."


MOST_OPEN = 1000
MOST_NOTE = 120


class Invitations:
    def __init__(self, db: Database, accounts: Accounts, audit: Audit, *, origin: str, key: bytes = b"") -> None:
        """`key`: what links in e-mails are derived with; without it none can be invited by e-mail."""
        self._db = db
        self._accounts = accounts
        self._audit = audit
        self._origin = origin
        self._key = key
        self.on_grouped: Callable[[], Awaitable[None]] | None = None  # somebody joined a group; set by app.py

    async def invite(self, *, role: Role, note: str, by: User) -> str:
        """A link for one new member, good for 7 days. Shown once: only its hash is kept."""
        (link,) = await self.invite_all([Guest(note, role)], by=by)
        return link

    async def invite_all(self, guests: Sequence[Guest], *, by: User) -> list[str]:
        """A link for each of them, all or none. Raises BadInput with the field, and Forbidden."""
        return [link for _, link in await self._invite(guests, by)]

    async def invite_by_mail(self, guests: Sequence[Guest], *, by: User, language: str) -> None:
        """The same, each link for the queue of e-mails, in that language (BCP 47): it is shown to nobody."""
        await self._invite(guests, by, mailed_in=language)

    async def mail_again(self, invitation_id: str, *, by: User) -> Delivery:
        """Send the link of one that was sent by e-mail once more, to the same address. Raises NotFound."""
        if not by.may_invite:
            raise Forbidden("Only an admin can invite members.")
        found = next((each for each in await self.deliveries() if each.invitation_id == invitation_id), None)
        if found is None:
            raise NotFound("There is no such invitation that is sent by e-mail (any more). Reload the page.")
        again = _queued(invitation_id, found.recipient, found.language)
        async with self._db.transaction():
            await deliveries.put(self._db, again)
            await self._audit.record(by.id, "invitation sent again", invitation_id, found.recipient)
        return again

    async def deliveries(self) -> list[Delivery]:
        """How far each e-mail with a link is that can still be used, the next one first."""
        return await deliveries.of_open(self._db, now_ms())

    async def to_send(self, invitation_id: str) -> tuple[Invitation, User, str]:
        """One that is sent by e-mail, who invites, and the link. Raises Gone when it is worth nothing any more."""
        token = self._derived(invitation_id)
        found = await self.peek(token)
        return found, self._accounts.get(found.invited_by or ""), self._link(token)

    async def setup_link(self) -> str | None:
        """A fresh link that makes the owner, good for one day; earlier ones end. None once there is an owner."""
        await self._accounts.load()
        if self._accounts.owner is not None:
            return None
        async with self._db.transaction():
            await invitations.delete_unused_setup(self._db)
            token = secrets.token_urlsafe(32)
            await self._add(_new_id(), token, Guest("", Role.OWNER), None, SETUP_VALID_MS)
        return self._link(token)

    async def open(self) -> list[Invitation]:
        """Links that can still be used, newest first."""
        now = now_ms()
        return [
            each
            for each in await invitations.all(self._db)
            if each.used_at is None and each.expires_at > now and each.role is not Role.OWNER
        ]

    async def page(self, before: tuple[int, str], limit: int, *, by: User) -> list[Invitation]:
        """Links that can still be used, newest first, from behind an instant of making and an id. For admins."""
        if not by.role.administers:
            raise Forbidden("Only an admin can see invitations.")
        return await invitations.page(self._db, now_ms(), before, limit)

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
        if found.role is Role.OWNER and self._accounts.owner is not None:
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
            claimed = await self.use_up(found, user)
        self._accounts.remember(user)
        await self.follow_up(claimed)
        await self._audit.record(user.id, "joined", user.login, f"as {found.role}")
        return user, await self._accounts.begin_session(user, address=address, browser=browser)

    async def use_up(self, found: Invitation, user: User) -> Invitation:
        """In the caller's transaction: it has made this account, in its group, and makes no other one. Raises Gone.

        Given back as it is now, for `follow_up` once the transaction has ended.
        """
        claimed = await invitations.claim(self._db, found.id, now_ms())  # its group may be gone since
        await invitations.set_used_by(self._db, found.id, user.id)
        if claimed.group_id is not None:
            await groups.place(self._db, user.id, gained=[claimed.group_id], lost=())
        return claimed

    async def follow_up(self, claimed: Invitation) -> None:
        """Let what depends on groups know that one has one more in it."""
        if claimed.group_id is not None and self.on_grouped is not None:
            await self.on_grouped()

    async def _invite(self, guests: Sequence[Guest], by: User, *, mailed_in: str = "") -> list[tuple[str, str]]:
        """Ids and links of new invitations. `mailed_in`: the language of their e-mails; "" where there are none."""
        if not by.may_invite:
            raise Forbidden("Only an admin can invite members.")
        known = {each.id for each in await groups.all(self._db)}
        for each in guests:
            _check(each, known, by_mail=bool(mailed_in))
        made: list[tuple[str, str]] = []
        try:
            async with self._db.transaction():
                if await invitations.count_open(self._db, now_ms()) + len(guests) > MOST_OPEN:
                    raise BadInput(f"More than {MOST_OPEN} links would be open. Withdraw some that nobody needs.")
                for each in guests:
                    invitation_id = _new_id()
                    token = self._derived(invitation_id) if mailed_in else secrets.token_urlsafe(32)
                    await self._add(invitation_id, token, each, by.id or None, MEMBER_VALID_MS)
                    if mailed_in:
                        await deliveries.put(self._db, _queued(invitation_id, each.email, mailed_in))
                    told = f"{each.note}, by e-mail to {each.email}" if mailed_in else each.note
                    await self._audit.record(by.id, "invited", each.role, told)
                    made.append((invitation_id, self._link(token)))
        except Conflict:
            raise BadInput("A group was removed just now. Choose again.", field="group") from None
        return made

    def _derived(self, invitation_id: str) -> str:
        if not self._key:
            raise Forbidden("Links for e-mails are made by the control plane alone.")
        made = hmac.digest(self._key, b"invitation " + invitation_id.encode(), "sha256")
        return base64.urlsafe_b64encode(made).decode().rstrip("=")

    def _link(self, token: str) -> str:
        return f"{self._origin}/join/{token}"

    async def _add(self, invitation_id: str, token: str, guest: Guest, by: str | None, valid_ms: int) -> None:
        now = now_ms()
        await invitations.add(
            self._db,
            Invitation(
                id=invitation_id,
                token_hash=digest(token),
                role=guest.role,
                note=guest.note.strip(),
                invited_by=by,
                created_at=now,
                expires_at=now + valid_ms,
                used_at=None,
                used_by=None,
                group_id=guest.group_id,
            ),
        )


def _new_id() -> str:
    return "i" + secrets.token_hex(8)


def _queued(invitation_id: str, recipient: str, language: str) -> Delivery:
    now = now_ms()
    return Delivery(invitation_id, recipient, DeliveryState.WAITING, 0, now, "", now, language)


def _check(guest: Guest, groups: Collection[str], *, by_mail: bool) -> None:
    """Raises BadInput with the field."""
    if guest.role is Role.OWNER:
        raise BadInput("There is one owner; invite a member, an admin or a viewer.", field="role")
    if len(guest.note) > MOST_NOTE:
        raise BadInput(f"Keep the note under {MOST_NOTE} characters.", field="note")
    if guest.group_id is not None and guest.group_id not in groups:
        raise BadInput("There is no such group (any more). Choose again.", field="group")
    if by_mail and not is_address(guest.email):
        raise BadInput("Give one e-mail address, like ada@example.com.", field="email")
