"""The way in: a password, then a second factor where there is one, or a passkey alone; and proving oneself once more.

Between password and second factor a browser holds a half-session: a random cookie that is good for this one step, for
five minutes, as long as the password stays the same. Half-sessions live in memory only, and nothing else takes them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from clawloops.clock import steady_ms
from clawloops.control.accounts import Accounts
from clawloops.control.factors import Factors
from clawloops.control.issuer import Issuers
from clawloops.control.passkeys import REFUSED, Passkeys
from clawloops.control.sessions import Sessions, digest
from clawloops.control.throttle import Throttle
from clawloops.errors import BadInput, NotSignedIn, TooManyAttempts
from clawloops.model.account import Session, User
from clawloops.model.decoy import Place, Spot, unnoticed

HALF_VALID_MS = 5 * 60_000
TOO_LATE = "That took too long. Sign in again."


@dataclass(frozen=True, slots=True)
class Entered:
    token: str  # of the dashboard session
    onward: str


@dataclass(frozen=True, slots=True)
class Halfway:
    token: str  # of the half-session


@dataclass(frozen=True, slots=True)
class _Half:
    """A half-session: who has done the first step, and where they were going."""

    user_id: str
    how: str
    password_hash: str
    onward: str
    ends: int  # on the steady clock, ms


class Entrance:
    def __init__(
        self,
        accounts: Accounts,
        factors: Factors,
        passkeys: Passkeys,
        sessions: Sessions,
        issuers: Issuers,
        *,
        spot: Spot = unnoticed,
    ) -> None:
        """`spot`: looks for decoys in what was refused."""
        self._accounts = accounts
        self._factors = factors
        self._passkeys = passkeys
        self._sessions = sessions
        self._issuers = issuers
        self._spot = spot
        self._throttle = Throttle()
        self._halves: dict[bytes, _Half] = {}

    async def by_password(
        self, login: str, password: str, address: str, *, browser: str = "", onward: str = "/"
    ) -> Entered | Halfway:
        """Raises TooManyAttempts and NotSignedIn, which say no more. `onward`: kept over the second step."""
        try:
            user = await self._accounts.check_password(login, password, address)
        except (NotSignedIn, TooManyAttempts):
            self._spot(f"{login}\n{password}", Place.SIGN_IN, address)
            raise
        await self._demand_open(user, address)
        if not (await self._factors.of(user.id)).has_factor:
            return await self._enter(user, "with a password", address, browser, onward)
        return self._halve(user, "a password", onward)

    async def by_issuer(
        self, user: User, label: str, address: str, *, proved_at: int, browser: str = "", onward: str = "/"
    ) -> Entered | Halfway:
        """Somebody whom the identity provider has sent, and who belongs here (`Arrivals`).

        A second factor is the provider's business, unless this box demands one. `proved_at`: Unix ms, when they have
        proven themselves there; being signed in there already is no proof of today.
        """
        if self._factors.requirement.covers(user.role) and (await self._factors.of(user.id)).has_factor:
            return self._halve(user, label, onward)
        token = await self._accounts.begin_session(
            user, how=f"with {label}", address=address, browser=browser, proved_at=proved_at
        )
        return Entered(token, onward)

    def _halve(self, user: User, how: str, onward: str) -> Halfway:
        now, token = steady_ms(), secrets.token_urlsafe(32)
        # As many as first steps in five minutes, and those take a tenth of a second each: no need for a bound.
        self._halves = {key: each for key, each in self._halves.items() if each.ends > now}
        self._halves[digest(token)] = _Half(user.id, how, user.password_hash, onward, now + HALF_VALID_MS)
        return Halfway(token)

    def halfway(self, token: str) -> User | None:
        """Who holds this half-session; None once it has ended, or its member was shut out or has another password."""
        half = self._halves.get(digest(token))
        if half is None or half.ends <= steady_ms():
            return None
        user = self._accounts.get(half.user_id)
        return user if user.disabled_at is None and user.password_hash == half.password_hash else None

    async def by_second(
        self, token: str, *, code: str = "", answer: str = "", address: str, browser: str = ""
    ) -> Entered:
        """From a half-session to a session, by a code or a passkey. Raises NotSignedIn, BadInput, TooManyAttempts."""
        user = self.halfway(token)
        if user is None:
            raise NotSignedIn(TOO_LATE)
        if answer:
            await self._passkeys.use(answer, of=user, tied_to=token, address=address)
            how = "a passkey"
        else:
            how = await self._factors.check_code(code, of=user, address=address)
        if self.halfway(token) is None:
            raise NotSignedIn(TOO_LATE)  # it ended meanwhile, or somebody else came through with it
        half = self._halves.pop(digest(token))
        return await self._enter(user, f"with {half.how} and {how}", address, browser, half.onward)

    async def by_passkey(
        self, answer: str, *, tied_to: str, address: str, browser: str = "", onward: str = "/"
    ) -> Entered:
        """Sign in with a passkey alone, which is both factors. Raises TooManyAttempts and NotSignedIn.

        Nobody guesses an answer: attempts are counted, for each address alone, so that they cannot fill the audit.
        """
        self._throttle.attempt(address, address)
        try:
            user = await self._who_answers(answer, tied_to=tied_to, address=address)
        except BadInput as error:
            await self._accounts.note_refused(None, "a passkey", address)
            raise NotSignedIn(str(error)) from error
        self._throttle.succeeded(address, address)
        await self._demand_open(user, address)
        return await self._enter(user, "with a passkey", address, browser, onward)

    async def _who_answers(self, answer: str, *, tied_to: str, address: str) -> User:
        user = self._accounts.get(await self._passkeys.use(answer, of=None, tied_to=tied_to, address=address))
        if user.disabled_at is not None:
            raise BadInput(REFUSED)
        return user

    async def prove(
        self, session: Session, *, by: User, password: str = "", code: str = "", answer: str = "", address: str
    ) -> None:
        """Once more, before something dangerous. Raises BadInput and TooManyAttempts.

        Of a member with a second factor, their password proves nothing here: whoever found that and an open browser
        would be able to take the factor away.
        """
        if answer:
            await self._passkeys.use(answer, of=by, tied_to=session.hash.hex(), address=address)
        elif code:
            await self._factors.check_code(code, of=by, address=address)
        elif (await self._factors.of(by.id)).has_factor:
            raise BadInput("Confirm it with your second factor: a password alone does not do here.")
        else:
            await self._accounts.check_own_password(password, by=by, address=address)
        await self._sessions.prove(session)

    async def _demand_open(self, user: User, address: str) -> None:
        """Raises NotSignedIn for whoever signs in with the identity provider alone."""
        if self._issuers.closes(user.role) and self._issuers.current is not None:
            await self._accounts.note_refused(user, "not with the identity provider", address)
            raise NotSignedIn(f"Here you sign in with {self._issuers.current.label}, and with nothing else.")

    async def _enter(self, user: User, how: str, address: str, browser: str, onward: str) -> Entered:
        return Entered(await self._accounts.begin_session(user, how=how, address=address, browser=browser), onward)
