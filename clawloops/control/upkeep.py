"""Keeps the box well: looks at its parts while an admin watches, and uses the remedies that one asks for."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import ClawLoopsError, Conflict, Forbidden
from clawloops.model.account import User
from clawloops.model.checkup import Checkup, Finding, Remedy, Try

_log = logging.getLogger(__name__)

FRESH_S = 300.0  # after which a look that is wanted is made anew
_UNFORESEEN = "it failed as nobody foresaw; the log of clawloops has it"

Examine = Callable[[str], Awaitable[Sequence[Finding]]]
"""Looks at every part, or at the one that is named. Raises ClawLoopsError or OSError."""


class Upkeep:
    """`remedies`: each does its work and comes back once the part has had the time that it needs.

    `keep` begins what goes on beside requests: no Docker call is made inside one.
    """

    def __init__(
        self,
        audit: Audit,
        *,
        examine: Examine,
        remedies: Mapping[Remedy, Callable[[User], Awaitable[None]]],
        bundle: Callable[[], Awaitable[bytes]],
        keep: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._audit = audit
        self._examine = examine
        self._remedies = remedies
        self._bundle = bundle
        self._keep = keep
        self._found = Checkup()
        self._looked_at = -FRESH_S
        self._tries: dict[Remedy, Try] = {}

    def checkup(self, *, by: User) -> Checkup:
        """What was found last; what is older than FRESH_S is looked at anew meanwhile. Raises Forbidden."""
        if not by.role.oversees:
            raise Forbidden("This is for admins and viewers.")
        if time.monotonic() - self._looked_at > FRESH_S:
            self._begin()
        return replace(self._found, tries=tuple(sorted(self._tries.values(), key=lambda each: -each.at)))

    def look(self, *, by: User) -> None:
        """Look at every part now; what was found shows in `checkup`. Raises Forbidden."""
        _admin(by)
        self._begin()

    async def use(self, remedy: Remedy, *, by: User) -> None:
        """Begin to put right what was found. Raises Forbidden, Conflict."""
        _admin(by)
        finding = next((each for each in self._found.wrong if each.remedy is remedy), None)
        if finding is None:
            raise Conflict("Nothing is wrong now that this would put right. Look at the box again.")
        begun = self._tries.get(remedy)
        if begun is not None and not begun.ended_at:
            raise Conflict("This is under way already. The page shows how it ends.")
        self._tries[remedy] = Try(remedy, finding.part, by.id, now_ms())
        try:
            await self._audit.record(by.id, "remedy used", remedy, finding.part)
        except BaseException:
            del self._tries[remedy]
            raise
        self._keep(self._use(finding, remedy, by))

    async def bundle(self, *, by: User) -> bytes:
        """A support bundle: a gzipped tar archive. Raises Forbidden."""
        _admin(by)
        await self._audit.record(by.id, "support bundle made", "the box")
        return await self._bundle()

    def _begin(self) -> None:
        if not self._found.is_looking:
            self._looked_at = time.monotonic()
            self._found = replace(self._found, is_looking=True)
            self._keep(self._look())

    async def _look(self) -> None:
        try:
            found = await self._examine("")
        except Exception as error:  # noqa: BLE001  # what is found out next may be well again
            self._found = replace(self._found, is_looking=False, trouble=_told(error), at=now_ms())
            return
        self._found = Checkup(tuple(found), now_ms())

    async def _use(self, finding: Finding, remedy: Remedy, by: User) -> None:
        try:
            await self._remedies[remedy](by)
            (found,) = await self._examine(finding.part)
            outcome = found.why
        except Exception as error:  # noqa: BLE001  # told beside the button, whatever it was
            found, outcome = None, _told(error)
        _log.info("remedy %s: %s", remedy, outcome or "it helped")
        self._tries[remedy] = replace(self._tries[remedy], ended_at=now_ms(), outcome=outcome)
        if found is not None:
            findings = tuple(found if each.part == found.part else each for each in self._found.findings)
            self._found = replace(self._found, findings=findings)


def _told(error: Exception) -> str:
    if isinstance(error, ClawLoopsError | OSError):
        return str(error) or type(error).__name__
    _log.error("unforeseen in the upkeep of the box", exc_info=error)
    return _UNFORESEEN


def _admin(by: User) -> None:
    if not by.role.administers:
        raise Forbidden("Only an admin can look after this box.")
