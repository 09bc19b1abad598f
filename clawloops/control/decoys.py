"""Who uses a decoy key shows themselves: admins are told until one has taken note, and the workspace may be stopped.

A use is counted in memory at once, and written down beside it; of many uses at one place the first makes an entry in
the audit, and all of them together are one alarm. Decoys from before the last time that an admin took note tell nothing
new: they are refused like any other key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import ClawLoopsError, Conflict, Forbidden, NotFound
from clawloops.finishing import finish
from clawloops.model.account import User
from clawloops.model.decoy import Consequence, Decoy, DecoyKeys, Place, Use
from clawloops.store import decoys, events, meta, runtimes
from clawloops.store.db import Database

WRITE_EVERY_S = 1.0
MOST = 20  # uses of one workspace's decoys that are told apart
_CONSEQUENCE = "decoys:consequence"
_Uses = dict[tuple[Place, str], Use]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Alarm:
    """What an admin has yet to take note of, about one workspace."""

    runtime_id: str
    slug: str  # of the workspace; "" when the database knows of none
    where: Sequence[tuple[str, Use]]  # each in words, first use first
    is_held: bool  # whether the workspace waits for an admin

    @property
    def text(self) -> str:
        """The alarm in a sentence or two."""
        if not self.slug:
            return f"The decoy key of a workspace that is no more {self.what}"
        return f"The decoy key of the workspace {self.slug} {self.what}"

    @property
    def what(self) -> str:
        """The end of that sentence: what became of the decoy, and of its workspace."""
        where = self.where[0][0]
        used = f"was used {where} ({self.count} times in all)" if self.count > 1 else f"was used {where}"
        return f"{used}. The workspace is stopped until an admin has looked at it." if self.is_held else f"{used}."

    @property
    def last_at(self) -> int:
        return max(use.last_at for _, use in self.where)

    @property
    def count(self) -> int:
        return sum(use.count for _, use in self.where)


@dataclass(frozen=True, slots=True)
class _Untold:
    """The first use of its kind, or one that has stopped its workspace."""

    decoy: Decoy
    use: Use
    stops: bool


class Decoys:
    def __init__(
        self,
        db: Database,
        audit: Audit,
        keys: DecoyKeys,
        *,
        keep: Callable[[Coroutine[Any, Any, None]], None],
        hold: Callable[[str, str], None],
        let_go: Callable[[str], None],
        wake: Callable[[str], None],
    ) -> None:
        """`keep` runs something beside what is refused. `hold(runtime_id, why)`: it may not run until `let_go`."""
        self._db = db
        self._audit = audit
        self._keys = keys
        self._keep = keep
        self._hold = hold
        self._let_go = let_go
        self._wake = wake
        self.consequence = Consequence.STOP
        self._uses: dict[str, _Uses] = {}  # by runtime id
        self._unwritten: set[tuple[str, tuple[Place, str]]] = set()
        self._untold: list[_Untold] = []
        self._numbers: dict[str, int] = {}  # runtime id -> `Runtime.decoy`; 0 for who is not in it
        self._slugs: dict[str, str] = {}
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Go on telling of what nobody has taken note of, and holding whoever was held. Before any runtime starts."""
        self.consequence = Consequence(await meta.get(self._db, _CONSEQUENCE) or Consequence.STOP)
        for runtime in await runtimes.all(self._db):
            self._numbers[runtime.id], self._slugs[runtime.id] = runtime.decoy, runtime.slug
        for use in await decoys.all(self._db):
            self._uses.setdefault(use.runtime_id, {})[use.place, use.origin] = use
        for use in [each for theirs in self._uses.values() for each in theirs.values() if each.has_stopped]:
            self._hold(use.runtime_id, self._why(use))

    async def run(self) -> None:
        """Write counts down each second until cancelled. What cannot be written is tried again."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self._write_now()

    def spot(self, text: str, place: Place, origin: str) -> bool:
        """Whether a decoy is in it; a use of it, which is noted. Never waits (`model.decoy.Spot`)."""
        decoy = self._keys.find(text)
        if decoy is None:
            return False
        if decoy.number >= self._numbers.get(decoy.runtime_id, 0):
            self._used(decoy, place, origin)
        return True

    def alarms(self) -> list[Alarm]:
        """What an admin has yet to take note of, oldest first."""
        return [alarm for runtime_id in self._uses if (alarm := self.alarm_of(runtime_id)) is not None]

    def alarm_of(self, runtime_id: str) -> Alarm | None:
        uses = self._uses.get(runtime_id)
        if uses is None:
            return None
        where = [(self._where(use), use) for use in uses.values()]
        return Alarm(runtime_id, self._slugs.get(runtime_id, ""), where, self._is_held(runtime_id))

    @property
    def alarm(self) -> str:
        """What every page tells an admin; "" when there is nothing to take note of."""
        alarms = self.alarms()
        more = f" {len(alarms) - 1} more like this." if len(alarms) > 1 else ""
        return alarms[0].text + more if alarms else ""

    async def close(self) -> None:
        """Write down what was counted, at the end."""
        await self._write_now()

    async def acknowledge(self, runtime_id: str, *, seen: int, by: User) -> None:
        """Take note of an alarm: another decoy takes its place, and whoever is held goes on.

        `seen`: the last use that was looked at, Unix ms. Raises NotFound where there is none (any more), Conflict when
        it was used again meanwhile, Forbidden.
        """
        _admin(by)
        async with self._writing:
            alarm = self.alarm_of(runtime_id)
            if alarm is None:
                raise NotFound("Somebody has taken note of this already. Reload the page.")
            if alarm.last_at > seen:
                raise Conflict("It was used again meanwhile. Look at the list once more, and then take note.")
            await finish(self._renew(alarm, by))

    async def set_consequence(self, consequence: Consequence, *, by: User) -> None:
        """What comes of it when a decoy is used, from now on. Raises Forbidden."""
        _admin(by)
        await meta.put(self._db, _CONSEQUENCE, consequence.value)
        self.consequence = consequence
        await self._audit.record(by.id, "decoy keys set", "everybody", consequence.value)

    async def write(self) -> None:
        """Write down what was counted since the last time, to its end. Raises Unavailable."""
        if self._unwritten:
            async with self._writing:
                await finish(self._write())

    def _used(self, decoy: Decoy, place: Place, origin: str) -> None:
        uses = self._uses.setdefault(decoy.runtime_id, {})
        if (place, origin) not in uses and len(uses) >= MOST:
            origin = ""
        key, now = (place, origin), now_ms()
        known = uses.get(key) or Use(decoy.runtime_id, place, origin, 0, now, now, has_stopped=False)
        stops = self.consequence is Consequence.STOP and not self._is_held(decoy.runtime_id)
        use = replace(known, count=known.count + 1, last_at=now, has_stopped=known.has_stopped or stops)
        uses[key] = use
        self._unwritten.add((decoy.runtime_id, key))
        if stops:
            self._hold(decoy.runtime_id, self._why(use))
            self._wake(decoy.runtime_id)
        if stops or not known.count:
            log.error("the decoy key of runtime %s was used %s", decoy.runtime_id, self._where(use))
            self._untold.append(_Untold(decoy, use, stops))
            self._keep(self._write_now())

    async def _write_now(self) -> None:
        try:
            await self.write()
        except ClawLoopsError as error:
            log.error("uses of decoy keys are not yet in the store: %s", error)

    async def _write(self) -> None:
        """All of what was counted, and what has to be told for the first time, or nothing of it."""
        unwritten, self._unwritten = self._unwritten, set()
        untold, self._untold = self._untold, []
        uses = [use for runtime_id, key in unwritten if (use := self._uses.get(runtime_id, {}).get(key)) is not None]
        try:
            async with self._db.transaction():
                await decoys.put(self._db, uses)
                for each in untold:
                    await self._tell(each)
        except BaseException:
            self._unwritten |= unwritten
            self._untold = untold + self._untold
            raise

    async def _tell(self, untold: _Untold) -> None:
        """In the audit, and in the history of the workspace."""
        decoy, use = untold.decoy, untold.use
        for runtime_id in {decoy.runtime_id, use.origin} - self._slugs.keys():
            runtime = await runtimes.get(self._db, runtime_id)
            if runtime is not None:  # made since the start
                self._slugs[runtime.id] = runtime.slug
        where, slug = self._where(use), self._slugs.get(decoy.runtime_id)
        detail = f"{where}; it was put into container {decoy.generation}{', which is stopped' if untold.stops else ''}"
        await self._audit.record(None, "decoy key used", slug or decoy.runtime_id, detail)
        if slug:
            await self._note(decoy.runtime_id, self._why(use) if untold.stops else f"{_WHAT} was used {where}")

    async def _renew(self, alarm: Alarm, by: User) -> None:
        async with self._db.transaction():
            runtime = await runtimes.renew_decoy(self._db, alarm.runtime_id)
            await decoys.delete(self._db, alarm.runtime_id)
            times = "once" if alarm.count == 1 else f"{alarm.count} times"
            await self._audit.record(by.id, "decoy key renewed", alarm.slug or alarm.runtime_id, f"used {times}")
            if runtime is not None:
                told = f"{by.name} took note of that, and renewed the decoy"
                await self._note(runtime.id, f"{told}, and it may run again" if alarm.is_held else told, by)
        if runtime is not None:
            self._numbers[runtime.id] = runtime.decoy
        self._uses.pop(alarm.runtime_id, None)
        self._let_go(alarm.runtime_id)
        self._wake(alarm.runtime_id)

    async def _note(self, runtime_id: str, text: str, by: User | None = None) -> None:
        await events.add(self._db, runtime_id, at=now_ms(), kind="decoy", text=text, actor=by.id if by else None)

    def _is_held(self, runtime_id: str) -> bool:
        return any(use.has_stopped for use in self._uses.get(runtime_id, {}).values())

    def _why(self, use: Use) -> str:
        return f"{_WHAT} was used {self._where(use)}, so it was stopped; an admin has to look at it first"

    def _where(self, use: Use) -> str:
        if use.origin == use.runtime_id:
            who = "the workspace itself"
        elif use.place.is_inside and use.origin:
            who = f"the workspace {self._slugs.get(use.origin, use.origin)}"
        else:
            who = use.origin or "others"
        match use.place:
            case Place.GATEWAY:
                return f"to call a model, by {who}"
            case Place.INTERNET:
                return f"on its way to the internet, by {who}"
            case Place.TOOLS:
                return f"to call a model from outside, by {who}"
            case Place.SIGN_IN:
                return f"to sign in, by {who}"
            case Place.WEBHOOK:
                return f"to call a webhook, by {who}"


_WHAT = "a decoy key that lies in this workspace"


def _admin(by: User) -> None:
    if not by.role.administers:
        raise Forbidden("Only an admin can do this.")
