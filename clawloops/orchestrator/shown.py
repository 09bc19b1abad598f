"""What one runtime looks like to people: the keeper's findings on the board, with when each phase began and why."""

from __future__ import annotations

from clawloops.clock import now_ms, steady_ms
from clawloops.model.runtime import Phase, Runtime, View
from clawloops.orchestrator.admission import Gate
from clawloops.orchestrator.board import Board, Opening
from clawloops.orchestrator.doze import Doze


class Shown:
    def __init__(self, runtime_id: str, board: Board, gate: Gate, doze: Doze) -> None:
        self._id = runtime_id
        self._board = board
        self._gate = gate
        self._doze = doze
        self._opening = Opening()

    @property
    def now(self) -> View:
        return self._board.get(self._id)

    def show(
        self, desired: Runtime | None, phase: Phase, reason: str = "", *, address: str | None = None, pending: str = ""
    ) -> None:
        """Show this from now on. `desired`: None when the row could not be read, which leaves the why unsaid."""
        before = self.now
        since = before.since if before.phase is phase and before.since else now_ms()
        steps = self._opening.at(phase, steady_ms())
        place = self._gate.place(self._id) if phase is Phase.QUEUED else None
        if phase is Phase.READY is not before.phase:
            self._doze.came_up(self._id)
        why = ""
        if desired is not None:
            why = self._doze.why(desired) if phase in (Phase.READY, Phase.BOOT) else desired.sleep_why
        self._board.put(View(self._id, phase, reason, address, since, steps, why, place, pending))
