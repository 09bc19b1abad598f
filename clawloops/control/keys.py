"""Keys with which members' own tools call models: shown once, kept as a hash, and known to the gateway at once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound
from clawloops.gateway.route import Directory
from clawloops.model.account import User
from clawloops.model.key import PREFIX, ApiKey
from clawloops.model.report import Month
from clawloops.model.token import PersonalToken
from clawloops.model.usage import Total
from clawloops.store import keys, usage, usage_days, users
from clawloops.store.db import Database

MOST = 25
DAY_MS = 86_400_000
_HINT = 10  # characters of a key that its owner may compare


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key, what it was used for since the first of the month, and when last at all (Unix ms; 0: never)."""

    key: ApiKey
    total: Total
    last_at: int


class Keys:
    def __init__(self, db: Database, audit: Audit, directory: Directory) -> None:
        self._db = db
        self._audit = audit
        self._directory = directory

    async def load(self) -> None:
        """Tell the gateway of every key whose owner is not shut out, nor a viewer now."""
        open_ = {user.id for user in await users.all(self._db) if user.may_work}
        for key in await keys.all(self._db):
            if key.user_id in open_:
                self._directory.set_key(key)

    async def all(self) -> list[ApiKey]:
        """Everybody's."""
        return await keys.all(self._db)

    async def of(self, user: User) -> list[KeyUse]:
        """One member's keys, newest first, each with what it was used for in this month of UTC."""
        mine = await keys.of(self._db, user.id)
        used = await usage_days.by_key(self._db, Month.around(now_ms()).days, user.id)
        last = await usage.last_by_key(self._db, [key.id for key in mine])
        return [KeyUse(key, used.get(key.id, Total()), last.get(key.id, 0)) for key in mine]

    async def make(
        self, *, name: str, models: Sequence[str], days: int, by: User, token: PersonalToken | None = None
    ) -> tuple[ApiKey, str]:
        """A new key, and its text, which nobody can tell again. `days`: after how many it ends, 0: never.

        `token`: the one that asks for it; the key ends no later than that, and with it.

        Raises BadInput with the field that is wrong, and Forbidden.
        """
        if not by.role.works:
            raise Forbidden("A viewer has no keys. An admin can make you a member.")
        name = " ".join(name.split())
        if not 1 <= len(name) <= 60 or not name.isprintable():
            raise BadInput("Give it a name of 1 to 60 characters: the tool or the machine it is for.", field="name")
        if not 0 <= days <= 3650:
            raise BadInput("Choose one of the list.", field="days")
        known = {route.model.name for route in self._directory.routes_for(by.id)}
        for each in models:
            if each not in known:
                raise BadInput(f"There is no model {each[:100]!r}. Take names from the list of models.", field="models")
        if len(await keys.of(self._db, by.id)) >= MOST:
            raise BadInput(f"You have {MOST} keys already. Revoke one that you no longer use.", field="name")
        text = PREFIX + secrets.token_urlsafe(32)
        ends = [now_ms() + days * DAY_MS] if days else []
        if token is not None:
            ends.append(token.expires_at)
        key = ApiKey(
            id="k" + secrets.token_hex(8),
            user_id=by.id,
            name=name,
            token_hash=hashlib.sha256(text.encode()).digest(),
            hint=text[:_HINT],
            models=frozenset(models),
            created_at=now_ms(),
            expires_at=min(ends, default=0),
            token_id=token.id if token is not None else None,
        )
        try:
            await keys.add(self._db, key)
        except Conflict:
            raise BadInput("You have a key of this name. Choose another one.", field="name") from None
        self._directory.set_key(key)
        await self._audit.record(by.id, "key made", key.id, name)
        return key, text

    async def revoke(self, key_id: str, *, by: User) -> None:
        """End one of one's own keys: the next call with it is refused. Raises NotFound."""
        key = await keys.delete(self._db, key_id, by.id)
        if key is None:
            raise NotFound("There is no such key (any more). Reload the page.")
        self._directory.drop_key(key.id)
        await self._audit.record(by.id, "key revoked", key.id, key.name)

    def end_made_with(self, token_id: str) -> None:
        """A token has ended, and in the store what was made with it."""
        self._directory.drop_keys_made_with(token_id)

    def shut_out(self, user_id: str) -> None:
        """End all keys of a member for now; their rows stay for the day they are let in again."""
        self._directory.drop_keys_of(user_id)

    async def let_in(self, user_id: str) -> None:
        """Undo `shut_out`."""
        for key in await keys.of(self._db, user_id):
            self._directory.set_key(key)
