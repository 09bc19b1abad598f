"""Admins in members' workspaces: opened with a reason, told to the member, and over within a second when it has to be.

An inspection opens one workspace for one dashboard session of one admin. The workspace sessions that come of it carry
its id, and are asked about at each request, in memory. What ended stays ended: another one has another id.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import replace

from clawloops.clock import now_ms, steady_ms
from clawloops.control.accounts import Accounts
from clawloops.control.audit import Audit
from clawloops.control.sessions import Sessions
from clawloops.errors import BadInput, ClawLoopsError, Conflict, Forbidden, NotFound
from clawloops.finishing import finish
from clawloops.model.account import Session, User
from clawloops.model.inspection import MINUTES, Ending, Inspection
from clawloops.model.runtime import Runtime, Want
from clawloops.store import events, inspections, runtimes
from clawloops.store.db import Database

LOOK_EVERY_S = 1.0
MAX_REASON = 300
LISTED = 50
"""Inspections of a workspace that are shown, the newest."""

_WRITE_USE_MS = 30_000
_WORDS = {
    Ending.TIME: "its time was up",
    Ending.SIGNED_OUT: "the admin's session has ended",
    Ending.NOT_ENTITLED: "the admin may no longer do this",
    Ending.DISABLED: "the member was disabled",
    Ending.GONE: "the member has deleted the container",
}

log = logging.getLogger(__name__)


class Inspections:
    """Those that are open are in memory; a change is committed first."""

    def __init__(self, db: Database, accounts: Accounts, sessions: Sessions, audit: Audit) -> None:
        self._db = db
        self._accounts = accounts
        self._sessions = sessions
        self._audit = audit
        self._open: dict[str, Inspection] = {}
        self._deadlines: dict[str, int] = {}  # on the steady clock, which nobody can set back
        self._written: dict[str, int] = {}  # when its use was last written down

    async def load(self) -> None:
        for each in await inspections.all_open(self._db):
            self._remember(each)

    # --- asked on the way in, memory only

    def admits(self, user: User, session: Session) -> Inspection | None:
        """The inspection that a workspace's session rests on, if it holds for this user."""
        found = self._open.get(session.inspection or "")
        if found is None or not self.holds(found):
            return None
        fits = (found.admin, found.session, found.runtime_id) == (user.id, session.parent, session.runtime_id)
        return found if fits else None

    def holds(self, inspection: Inspection) -> bool:
        """Whether one that was open before still is."""
        return inspection.id in self._open and self._over(inspection) is None

    def of_slug(self, slug: str | None, session: Session) -> Inspection | None:
        """The one that opens the workspace of this slug to this dashboard session."""
        for each in self._open.values():
            if (each.slug, each.session) == (slug, session.hash) and self.holds(each):
                return each
        return None

    def concerning(self, user_id: str) -> list[Inspection]:
        """The open ones of somebody's workspace, and those that they have opened; oldest first."""
        return [each for each in self._open.values() if user_id in (each.owner, each.admin) and self.holds(each)]

    # --- opened and ended

    async def open(self, runtime: Runtime, *, by: User, session: Session, reason: str, minutes: int) -> Inspection:
        """Open a member's workspace to this dashboard session of an admin.

        `minutes`: one of MINUTES; it never outlives the session. Raises BadInput with the field, Conflict, and
        Forbidden, which is in the audit.
        """
        reason = " ".join("".join(each if each.isprintable() else " " for each in reason).split())
        if not 1 <= len(reason) <= MAX_REASON:
            raise BadInput(f"Say why, in at most {MAX_REASON} characters. The member reads it.", field="reason")
        if minutes not in MINUTES:
            raise BadInput("Choose one of the list.", field="minutes")
        owner = self._accounts.get(runtime.owner)
        if owner.id == by.id:
            raise Conflict("This is your own workspace. Open it from the first page.")
        if not by.role.administers or owner.role.outranks(by.role):
            await self.note_refused(runtime.slug, by=by)
            raise Forbidden(f"{owner.name} ranks above you. Ask them to look themselves.")
        if not owner.may_work:
            raise Conflict("The member of this workspace is disabled, or a viewer now. Enable them first.")
        if runtime.want is Want.GONE:
            raise Conflict("This workspace has no container. Start it first.")
        await self.look()
        now = now_ms()
        made = Inspection(
            id="n" + secrets.token_hex(8),
            admin=by.id,
            runtime_id=runtime.id,
            owner=owner.id,
            slug=runtime.slug,
            session=session.hash,
            reason=reason,
            opened_at=now,
            until_at=min(now + minutes * 60_000, session.expires_at),
        )
        await finish(self._begin(made, by, minutes))  # also when the browser leaves: store and memory go together
        return made

    async def _begin(self, made: Inspection, by: User, minutes: int) -> None:
        try:
            async with self._db.transaction():
                await inspections.add(self._db, made)
                told = f"{minutes} min: {made.reason}"
                await self._audit.record(by.id, "workspace opened by an admin", made.slug, told)
                await self._tell(made, f"Opened by {by.name}, an admin: {made.reason}", by.id)
        except Conflict:
            raise Conflict("You have this workspace open already, maybe in another browser. End that first.") from None
        self._remember(made)

    async def note_entry(self, inspection: Inspection, *, at: int) -> None:
        """Its admin comes in at an instant (Unix ms). Written down before they do."""
        if (known := self._open.get(inspection.id)) is not None:
            known = replace(known, first_at=known.first_at or at, last_at=max(known.last_at, at))
            self._open[known.id] = known
            await inspections.note_use(self._db, known.id, known.first_at, known.last_at)

    async def end(self, inspection_id: str, *, by: User) -> Inspection | None:
        """End one's own, one of one's workspace, or as an admin anybody's. None: it has ended before.

        Raises NotFound.
        """
        found = self._open.get(inspection_id)
        if found is None:
            return None
        if by.id not in (found.owner, found.admin) and not by.role.administers:
            raise NotFound("There is no such thing to end. Reload the page.")
        await finish(self._end(found, Ending.DONE if by.id == found.admin else Ending.OBJECTION, by=by))
        return found

    async def of(self, runtime_id: str) -> list[Inspection]:
        """Those of a workspace, newest first, with their use as it is known now."""
        kept = await inspections.of(self._db, runtime_id, limit=LISTED)
        return [self._open.get(each.id, each) for each in kept]

    async def note_refused(self, slug: str, *, by: User) -> None:
        """Somebody tried to open a workspace that is not open to them."""
        await self._audit.record_refused(by.id, "opening a workspace refused", slug)

    # --- kept up

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except ClawLoopsError as error:
                log.error("admins' access to workspaces was not looked after, it still ends in time: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Note how those that are open are used, and end for good what no longer holds."""
        for each in list(self._open.values()):
            ending = self._over(each) or await self._given_up(each)
            if each.id not in self._open:  # ended meanwhile
                continue
            if ending is not None:
                await finish(self._end(each, ending))  # a request may be what looks
            else:
                await self._note_use(each)

    def _over(self, each: Inspection) -> Ending | None:
        """What makes an open one hold no longer. It is over by whichever clock is first."""
        if now_ms() >= each.until_at or steady_ms() >= self._deadlines.get(each.id, 0):
            return Ending.TIME
        if not self._sessions.knows(each.session):
            return Ending.SIGNED_OUT
        admin, owner = self._accounts.get(each.admin), self._accounts.get(each.owner)
        if not owner.may_work:
            return Ending.DISABLED
        if admin.disabled_at is not None or not admin.role.administers or owner.role.outranks(admin.role):
            return Ending.NOT_ENTITLED
        return None

    async def _given_up(self, each: Inspection) -> Ending | None:
        runtime = await runtimes.get(self._db, each.runtime_id)
        return Ending.GONE if runtime is None or runtime.want is Want.GONE else None

    def _used(self, each: Inspection) -> Inspection:
        """As it is known now, with its last use by its sessions; those that were revoked have told before."""
        each = self._open.get(each.id, each)
        return replace(each, last_at=max([each.last_at, *self._sessions.last_uses_of(each.id)]))

    async def _note_use(self, each: Inspection) -> None:
        used, now = self._used(each), steady_ms()
        if used == self._open[each.id]:
            return
        self._open[each.id] = used
        if now - self._written[each.id] >= _WRITE_USE_MS:
            self._written[each.id] = now
            await inspections.note_use(self._db, each.id, used.first_at, used.last_at)

    async def _end(self, each: Inspection, ending: Ending, *, by: User | None = None) -> None:
        each = self._used(each)
        at = max(each.opened_at, min(now_ms(), each.until_at))
        who, why = (by.id, f"{by.name} has ended it") if by else (None, _WORDS[ending])
        async with self._db.transaction():
            if await inspections.end(self._db, each.id, at=at, ending=ending, by=who):
                await inspections.note_use(self._db, each.id, each.first_at, each.last_at)
                await self._audit.record(who, "workspace closed to an admin", each.slug, why)
                await self._tell(each, f"Closed to {self._accounts.get(each.admin).name} again: {why}", who)
        for kept in (self._open, self._deadlines, self._written):
            kept.pop(each.id, None)
        await self._sessions.revoke_inspection(each.id)

    async def _tell(self, each: Inspection, text: str, actor: str | None) -> None:
        """One line in the workspace's history."""
        await events.add(self._db, each.runtime_id, at=now_ms(), kind="inspection", text=text, actor=actor)

    def _remember(self, each: Inspection) -> None:
        now = now_ms()
        is_later = now >= max(each.opened_at, each.last_at)  # else the clock was set back over a restart
        left = each.until_at - now if is_later else 0
        self._deadlines[each.id], self._written[each.id] = steady_ms() + left, 0
        self._open[each.id] = each
