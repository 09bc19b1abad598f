"""Groups of members: who is in them. What they may do stands with models, keys and budgets."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound
from clawloops.model.account import Group, User
from clawloops.store import groups
from clawloops.store.db import Database

MOST = 50
MOST_WEIGHT = 20


class Groups:
    def __init__(self, db: Database, audit: Audit, *, changed: Callable[[], Awaitable[None]]) -> None:
        """`changed` is awaited after each change: whoever keeps members of groups in memory reads them again."""
        self._db = db
        self._audit = audit
        self._changed = changed

    async def all(self) -> list[Group]:
        return await groups.all(self._db)

    async def get(self, group_id: str) -> Group:
        """Raises NotFound."""
        group = next((each for each in await self.all() if each.id == group_id), None)
        if group is None:
            raise NotFound("There is no such group (any more).")
        return group

    async def make(self, name: str, members: Collection[str], *, weight: int = 1, by: User) -> Group:
        """Raises BadInput with the field that is wrong."""
        _admin(by)
        if len(await groups.all(self._db)) >= MOST:
            raise BadInput(f"There are {MOST} groups already. Remove one that is no longer needed.", field="group")
        group = Group("g" + secrets.token_hex(8), _name(name), frozenset(members), now_ms(), _weight(weight))
        try:
            await groups.add(self._db, group)
        except Conflict:
            raise await self._refused(group.name, members) from None
        await self._audit.record(by.id, "group made", group.name, _count(members))
        await self._changed()
        return group

    async def change(self, group_id: str, name: str, members: Collection[str], *, weight: int = 1, by: User) -> None:
        """Raises NotFound, and BadInput with the field that is wrong."""
        _admin(by)
        group = Group(group_id, _name(name), frozenset(members), 0, _weight(weight))
        try:
            await groups.change(self._db, group)
        except Conflict:
            raise await self._refused(group.name, members) from None
        await self._audit.record(by.id, "group changed", group.name, _count(members))
        await self._changed()

    async def remove(self, group_id: str, *, by: User) -> None:
        """Its grants, its keys of backends and its budgets go with it. Raises NotFound."""
        _admin(by)
        group = next((each for each in await groups.all(self._db) if each.id == group_id), None)
        if group is None:
            raise NotFound("This group was removed already. Reload the page.")
        await groups.delete(self._db, group_id)
        await self._audit.record(by.id, "group removed", group.name)
        await self._changed()

    async def place(self, user: User, *, gained: Collection[str], lost: Collection[str], why: str) -> None:
        """Put somebody into groups and out of others, as the identity provider says with each sign-in."""
        async with self._db.transaction():
            changed = await self.put(user, gained=gained, lost=lost, why=why)
        if changed:
            await self._changed()

    async def put(self, user: User, *, gained: Collection[str], lost: Collection[str], why: str) -> bool:
        """The same in the caller's transaction; whether there is something for `follow_up` once that has ended."""
        if not await groups.place(self._db, user.id, gained=gained, lost=lost):
            return False
        await self._audit.record(user.id, "groups changed", user.login, why)
        return True

    async def follow_up(self) -> None:
        """Let what depends on groups know that members of some have changed."""
        await self._changed()

    async def _refused(self, name: str, members: Collection[str]) -> BadInput:
        taken = any(each.name == name for each in await groups.all(self._db))
        if taken:
            return BadInput("There is a group of this name. Choose another one.", field="group")
        return BadInput("Somebody of this list is no longer a member. Reload the page.", field="members")


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 60:
        raise BadInput("Give the group a name of 1 to 60 characters.", field="group")
    return name


def _weight(weight: int) -> int:
    if not 1 <= weight <= MOST_WEIGHT:
        raise BadInput(f"A share is a number from 1 to {MOST_WEIGHT}.", field="weight")
    return weight


def _count(members: Collection[str]) -> str:
    return f"{len(members)} {'member' if len(members) == 1 else 'members'}"


def _admin(user: User) -> None:
    if not user.role.administers:
        raise Forbidden("Only an admin can change groups.")
