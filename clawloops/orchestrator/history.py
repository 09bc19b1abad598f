"""A runtime's history in the words of a person: every step that was done, with its length, and every sleep and wake."""

from __future__ import annotations

import logging

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError
from clawloops.orchestrator.actions import Action
from clawloops.orchestrator.board import Board
from clawloops.store import events
from clawloops.store.db import Database

_log = logging.getLogger(__name__)

_STEPS = {
    "MakeNetwork": "its private network was made",
    "RemoveNetwork": "its private network was removed",
    "ConnectEdge": "its private network was connected to the front door",
    "WriteConfig": "its configuration was written anew",
    "Create": "its container was made",
    "Attach": "its container was put on its private network",
    "Start": "its container was started",
    "Pause": "it was frozen",
    "Limit": "its memory limit was set",
    "Unpause": "it goes on from where it was frozen",
    "Stop": "it was asked to stop; a turn that runs may finish first",
    "Kill": "it was killed: it had not stopped in time",
    "Remove": "its container was removed; its files stay",
    "Forget": "its configuration and token were removed; its files stay",
}


class History:
    """The history of one runtime. What cannot be written down is logged, and stops nothing."""

    def __init__(self, db: Database, runtime_id: str, board: Board) -> None:
        self._db = db
        self._id = runtime_id
        self._board = board

    async def step(self, action: Action, took_ms: int) -> None:
        name = type(action).__name__
        await self.note(name.lower(), _STEPS[name], took_ms=took_ms)

    async def note(self, kind: str, text: str, *, took_ms: int | None = None, actor: str | None = None) -> None:
        try:
            await events.add(self._db, self._id, at=now_ms(), kind=kind, text=text, took_ms=took_ms, actor=actor)
            self._board.tell(self._id)
        except ClawLoopsError as error:
            _log.warning("runtime %s: %s (%s) was not noted: %s", self._id, kind, text, error)
