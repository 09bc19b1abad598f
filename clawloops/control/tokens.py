"""Personal tokens: shown once, kept as a hash, answered from memory, ended at once when revoked or with their owner.

No token makes, lengthens or widens one, and what it makes ends with it: a program never outgrows what it was given.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import replace

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.keys import DAY_MS, Keys
from clawloops.control.sessions import digest
from clawloops.control.throttle import Throttle
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound, NotSignedIn, TooManyAttempts
from clawloops.finishing import finish
from clawloops.model.account import User
from clawloops.model.token import PersonalToken, TokenScope
from clawloops.store import tokens
from clawloops.store.db import Database

PREFIX = "clt_"  # so that scanners for leaked secrets know one
MOST = 25
MOST_DAYS = 365
_HINT = 10  # characters of a token that its owner may compare


class Tokens:
    """Every token is in memory (a small team has dozens); the store keeps them over a restart."""

    def __init__(self, db: Database, audit: Audit, keys: Keys) -> None:
        self._db = db
        self._audit = audit
        self._keys = keys
        self._throttle = Throttle()
        self._live: dict[bytes, PersonalToken] = {}
        self._used: dict[str, int] = {}  # by id: their last uses since the start, Unix ms

    async def load(self) -> None:
        self._live = {each.token_hash: each for each in await tokens.all(self._db)}

    def of(self, user: User) -> list[PersonalToken]:
        """One member's, newest first, also those that have ended by themselves."""
        mine = [each for each in self._live.values() if each.user_id == user.id]
        known = [replace(each, used_at=self._used.get(each.id, each.used_at)) for each in mine]
        return sorted(known, key=lambda each: (-each.created_at, each.id))

    async def make(self, *, name: str, scopes: Collection[TokenScope], days: int, by: User) -> str:
        """A new token, which nobody can tell again. `days`: after how many it ends.

        Raises BadInput with the field that is wrong, and Forbidden.
        """
        if not by.role.works:
            raise Forbidden("A viewer has no tokens. An admin can make you a member.")
        name = " ".join(name.split())
        if not 1 <= len(name) <= 60 or not name.isprintable():
            raise BadInput("Give it a name of 1 to 60 characters: the program or the machine it is for.", field="name")
        if not scopes:
            raise BadInput("Choose what it may do.", field="scopes")
        if not by.role.administers and any(each.is_for_admins for each in scopes):
            raise BadInput("Only an admin's token can open what is for admins.", field="scopes")
        if not 1 <= days <= MOST_DAYS:
            raise BadInput("It ends after a year at most. Choose one of the list.", field="days")
        if len(self.of(by)) >= MOST:
            raise BadInput(f"You have {MOST} tokens already. Revoke one that you no longer use.", field="name")
        text, now = PREFIX + secrets.token_urlsafe(32), now_ms()
        token = PersonalToken(
            id="t" + secrets.token_hex(8),
            user_id=by.id,
            name=name,
            token_hash=digest(text),
            hint=text[:_HINT],
            scopes=frozenset(scopes),
            created_at=now,
            expires_at=now + days * DAY_MS,
        )
        try:
            await tokens.add(self._db, token)
        except Conflict:
            raise BadInput("You have a token of this name. Choose another one.", field="name") from None
        self._live[token.token_hash] = token
        await self._audit.record(by.id, "token made", token.id, f"{name}: {', '.join(sorted(scopes))}")
        return text

    async def revoke(self, token_id: str, *, by: User) -> None:
        """End one of one's own tokens, and the keys that were made with it, now. Raises NotFound."""
        token = next((each for each in self._live.values() if (each.id, each.user_id) == (token_id, by.id)), None)
        if token is None:
            raise NotFound("There is no such token (any more). Reload the page.")
        self._live.pop(token.token_hash, None)  # before the store is asked: it may be slow
        await finish(self._revoke(token))  # also when the browser leaves

    async def _revoke(self, token: PersonalToken) -> None:
        try:
            await tokens.delete(self._db, token.id, token.user_id)
        except BaseException:
            self._live[token.token_hash] = token  # it would be back after a restart: its owner has to see it
            raise
        self._keys.end_made_with(token.id)
        await self._audit.record(token.user_id, "token revoked", token.id, token.name)

    async def end_all_of(self, user_id: str) -> None:
        """A member is shut out: their tokens end for good, with what was made with them."""
        ended = [each for each in self._live.values() if each.user_id == user_id]
        for token in ended:
            self._live.pop(token.token_hash, None)
        await tokens.delete_user(self._db, user_id)
        for token in ended:
            self._keys.end_made_with(token.id)

    def is_live(self, token: PersonalToken) -> bool:
        """Whether a token found earlier still holds. Memory only."""
        return token.token_hash in self._live and now_ms() < token.expires_at

    async def admit(self, text: str, address: str) -> PersonalToken:
        """Whose token this is, from memory, and note that it was used. Raises NotSignedIn and TooManyAttempts.

        Wrong ones are counted by address, as sign-ins are; a right one is let in all the while, for it was not guessed.
        """
        token, now = self._live.get(digest(text)), now_ms()
        if token is not None and now < token.expires_at:
            self._used[token.id] = now
            return token
        try:
            self._throttle.attempt(address, address)
        except TooManyAttempts as error:
            raise TooManyAttempts(
                "Too many wrong tokens came from your address. Wait, then use one that holds.",
                retry_after_s=error.retry_after_s,
            ) from None
        whose = (token.user_id, token.id) if token is not None else (None, "")
        await self._audit.record_refused(whose[0], "token refused", whose[1], address)
        raise NotSignedIn("This token is not known here (any more), or has ended. Make one under Your account.")

    async def sweep(self) -> None:
        """Once a minute: write down when tokens were last used."""
        for token in list(self._live.values()):
            at = self._used.get(token.id, 0)
            if at > token.used_at:
                await tokens.touch(self._db, token.id, at)
                if self._live.get(token.token_hash) is token:  # it was not revoked meanwhile
                    self._live[token.token_hash] = replace(token, used_at=at)
