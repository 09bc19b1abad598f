"""People whom the identity provider has sent: whose account they come to, who gets a new one, and who has to stay out.

An account belongs to an issuer and its `sub`. An e-mail address, a name or a login that fits proves nothing.
"""

from __future__ import annotations

from clawloops.clock import now_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.groups import Groups
from clawloops.control.invitations import Invitations
from clawloops.control.issuer import Issuers, Query
from clawloops.control.sessions import PROOF_MS, Sessions
from clawloops.control.throttle import Throttle
from clawloops.control.trips import Trip
from clawloops.errors import BadInput, Conflict, Forbidden, NotSignedIn
from clawloops.model.account import Invitation, Role, Session, User
from clawloops.model.issuer import FirstLogin, Identity, Issuer, Newcomer
from clawloops.oidc.provider import Asking
from clawloops.store import identities
from clawloops.store.db import Database


class Arrivals:
    def __init__(
        self,
        db: Database,
        issuers: Issuers,
        *,
        accounts: Accounts,
        sessions: Sessions,
        invitations: Invitations,
        groups: Groups,
        audit: Audit,
    ) -> None:
        self._db = db
        self._issuers = issuers
        self._accounts = accounts
        self._sessions = sessions
        self._invitations = invitations
        self._groups = groups
        self._audit = audit
        self._throttle = Throttle()  # of addresses: what is refused stands in the audit, and asks the provider

    async def meet(
        self, query: Query, trip: Trip, asking: Asking, *, session: Session | None, address: str
    ) -> Newcomer:
        """Whom the provider has sent back from a trip. `session`: that of the browser, if it has one.

        Raises BadInput, NotSignedIn, TooManyAttempts and Unavailable.
        """
        self._demand_same(trip, session)
        self._throttle.attempt(address, address)
        who = await self._issuers.who(query, trip, asking)
        self._demand_same(trip, session)  # the provider may take a while to answer
        return who

    async def admit(self, who: Newcomer, address: str) -> User:
        """The account that they sign in to, with the role and groups that they have from now on.

        Raises NotSignedIn with what they can do about it.
        """
        issuer = self._issuer()
        known = await identities.find(self._db, who.issuer, who.subject)
        if known is None:
            return await self._admit_stranger(issuer, who, address)
        user = self._accounts.get(known.user_id)
        if user.disabled_at is not None:  # also when they had unlinked it: they are no stranger
            await self._refuse(user, who, "disabled", address)
            raise NotSignedIn("Your account here is disabled. Ask an admin of this box.")
        if known.unlinked_at is not None:
            return await self._admit_stranger(issuer, who, address)
        if user.role is not Role.OWNER and not issuer.admits(who):
            await self._sessions.revoke_user(user.id)
            await self._refuse(user, who, "in no group or domain that is let in", address)
            raise _not_admitted(issuer)
        await identities.use(self._db, known, who.said, now_ms())
        self._throttle.succeeded(address, address)
        return await self._follow(issuer, user, who)

    async def join(self, token: str, who: Newcomer, address: str) -> User:
        """Make the account that an invitation promises. Raises Gone, and NotSignedIn as `admit` does."""
        issuer = self._issuer()
        invitation = await self._invitations.peek(token)
        if invitation.role is Role.OWNER or issuer.first_login is FirstLogin.REFUSED:
            raise Forbidden(f"This link is not for {issuer.label}. Open it again, and choose a password.")
        known = await identities.find(self._db, who.issuer, who.subject)
        if known is not None and known.unlinked_at is None:
            raise NotSignedIn(f"You have an account here already. Sign in with {issuer.label}.")
        if not issuer.admits(who):
            await self._refuse(None, who, "in no group or domain that is let in", address)
            raise _not_admitted(issuer)
        self._throttle.succeeded(address, address)
        return await self._make(issuer, who, invitation.role, invitation)

    async def link(self, who: Newcomer, *, by: User, address: str) -> None:
        """From now on they sign in with this identity, too. Raises BadInput."""
        issuer = self._issuer()
        if by.role is not Role.OWNER and not issuer.admits(who):
            raise BadInput(f"{issuer.label} says of you no group or domain that is let in here. Ask an admin.")
        now = now_ms()
        self._throttle.succeeded(address, address)
        try:
            async with self._db.transaction():
                await identities.add(self._db, Identity(who.issuer, who.subject, by.id, who.said, now, now))
                await self._audit.record(by.id, "identity linked", by.login, f"{who.said} of {issuer.label}")
        except Conflict:
            raise BadInput(
                f"{who.said} of {issuer.label} signs in to an account here already: once an admin has disabled that "
                "one, link it again. Or you have another one linked: unlink that first."
            ) from None

    async def unlink(self, *, by: User) -> None:
        """It signs them in no more; that it was theirs is kept. Raises BadInput for their only way in."""
        issuer = self._issuer()
        if not by.has_password or self._issuers.closes(by.role):
            raise BadInput("That is the way in which you sign in: without it you would be locked out.")
        async with self._db.transaction():
            if await identities.unlink(self._db, issuer.url, by.id, now_ms()):
                await self._audit.record(by.id, "identity unlinked", by.login, issuer.label)

    async def prove(self, session: Session, who: Newcomer, *, by: User, address: str) -> None:
        """Note that a session's owner has proven themselves at the provider just now. Raises BadInput for another."""
        known = await identities.find(self._db, who.issuer, who.subject)
        if known is None or known.unlinked_at is not None or known.user_id != by.id:
            await self._refuse(by, who, "another person, to confirm", address)
            raise BadInput("That was somebody else's account there. Confirm it with your own.")
        self._throttle.succeeded(address, address)
        await self._sessions.prove(session)

    async def of(self, user: User) -> Identity | None:
        """Who somebody is to the provider of today."""
        issuer = self._issuers.current
        return await identities.of(self._db, issuer.url, user.id) if issuer else None

    async def all(self) -> dict[str, Identity]:
        """By user id, those of the provider of today; latest use first."""
        issuer = self._issuers.current
        return {each.user_id: each for each in await identities.all_of(self._db, issuer.url)} if issuer else {}

    def proved_at(self, who: Newcomer) -> int:
        """When they have proven themselves (Unix ms), as far as the provider says; 0 for too long ago, or unsaid."""
        now, at = now_ms(), (who.authenticated_at or 0) * 1000
        return min(at, now) if now - at < PROOF_MS else 0

    async def _admit_stranger(self, issuer: Issuer, who: Newcomer, address: str) -> User:
        match issuer.first_login:
            case FirstLogin.MEMBERS if issuer.has_conditions and issuer.admits(who):
                self._throttle.succeeded(address, address)
                return await self._make(issuer, who, Role.MEMBER, None)
            case FirstLogin.MEMBERS:
                refusal = _not_admitted(issuer)
            case FirstLogin.INVITED:
                refusal = NotSignedIn(
                    f"{issuer.label} knows you and this box does not. Open your invitation link and join with "
                    f"{issuer.label} there; if you have an account here, sign in with your password and link it."
                )
            case FirstLogin.REFUSED:
                refusal = NotSignedIn(
                    f"{issuer.label} knows you and this box does not. If you have an account here, sign in with your "
                    "password and link it under Your account; else ask an admin."
                )
        await self._refuse(None, who, "not known here", address)
        raise refusal

    async def _make(self, issuer: Issuer, who: Newcomer, role: Role, invitation: Invitation | None) -> User:
        role = issuer.role_of(who, role)
        name = who.name or who.login
        user = self._accounts.draft_without_password(who.login or who.email or who.name, name=name, role=role)
        claimed, (gained, lost) = None, issuer.places_of(who)
        try:
            async with self._db.transaction():
                await self._accounts.keep(user)
                await identities.add(
                    self._db,
                    Identity(who.issuer, who.subject, user.id, who.said, user.created_at, user.created_at),
                )
                if invitation is not None:
                    claimed = await self._invitations.use_up(invitation, user)
                await self._audit.record(user.id, "joined", user.login, f"as {role}, with {issuer.label}")
                is_placed = await self._groups.put(user, gained=gained, lost=lost, why=_why(issuer))
        except (Conflict, BadInput) as error:  # the same person in two tabs, or their login taken a moment ago
            raise NotSignedIn("Somebody with your name came in at the same moment. Try again.") from error
        self._accounts.remember(user)
        if claimed is not None:
            await self._invitations.follow_up(claimed)
        if is_placed:
            await self._groups.follow_up()
        return user

    async def _follow(self, issuer: Issuer, user: User, who: Newcomer) -> User:
        """Give them the role and the groups that the provider's groups mean here."""
        role = issuer.role_of(who, user.role)
        if role is not user.role:
            user = await self._accounts.map_role(user, role, why=_why(issuer))
        gained, lost = issuer.places_of(who)
        await self._groups.place(user, gained=gained, lost=lost, why=_why(issuer))
        return user

    def _demand_same(self, trip: Trip, session: Session | None) -> None:
        """Raises BadInput when a trip was begun in a session that is no more, or not in this one."""
        if not trip.purpose.is_anew:
            return
        if session is None or session.hash.hex() != trip.bound_to or not self._sessions.is_live(session):
            raise BadInput("You were signed out meanwhile. Sign in, and try again.")

    async def _refuse(self, user: User | None, who: Newcomer, why: str, address: str) -> None:
        detail = f"{address}, {who.said}: {why}"
        await self._audit.record_refused(user.id if user else None, "sign-in refused", self._issuer().label, detail)

    def _issuer(self) -> Issuer:
        if self._issuers.current is None:
            raise NotSignedIn("This box has no identity provider any more. Sign in with your password.")
        return self._issuers.current


def _why(issuer: Issuer) -> str:
    return f"by {issuer.label}"


def _not_admitted(issuer: Issuer) -> NotSignedIn:
    return NotSignedIn(
        f"{issuer.label} says of you no group or domain that is let in here. Ask who runs it to add you to one."
    )
