"""The queue before each backend that serves few calls at once: a call has a seat there from its start to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from clawloops.gateway.fairness import FairShare, Ticket
from clawloops.model.provider import Backend

MOST_WAITING = 16  # calls of one member at one backend
_GUESS_S = 8.0  # what the first call of a model is expected to take
_NEW = 0.2  # how much the latest call weighs in what the next one is expected to take


class QueueFull(Exception):
    """This member has `MOST_WAITING` calls waiting there already."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One call as people see it."""

    user_id: str
    model: str  # public name
    is_background: bool
    since_s: float  # how long it has waited, or run
    place: int = 0  # from 1; 0: it runs
    expected_s: float = 0.0  # until it runs


@dataclass(slots=True)
class _Line:
    slots: int = 0
    share: FairShare = field(default_factory=FairShare)
    waiting: dict[Ticket, asyncio.Future[None]] = field(default_factory=dict)
    running: dict[Ticket, float] = field(default_factory=dict)  # since when


class Seat:
    """The right to use a backend, until `leave`. Seconds are those of a clock that only rises."""

    def __init__(self, queue: Queue, backend_id: str, ticket: Ticket, *, place: int, expected_s: float) -> None:
        self.place = place  # on arrival; 0: it did not wait
        self.expected_s = expected_s  # the wait that was expected on arrival
        self.waited_s = 0.0
        self._queue = queue
        self._backend_id = backend_id
        self._ticket = ticket
        self._taken = 0.0
        self._left: float | None = None

    def take(self, now: float) -> None:
        self._taken = now
        self.waited_s = now - self._ticket.since

    @property
    def held_s(self) -> float:
        return (self._left if self._left is not None else time.monotonic()) - self._taken

    def leave(self) -> None:
        """Free it for the next; a second time nothing happens."""
        if self._left is None:
            self._left = time.monotonic()
            self._queue._free(self._backend_id, self._ticket, self._left)


class Queue:
    """One for all backends. `weight_of(user_id)`: a member's share."""

    def __init__(self, *, weight_of: Callable[[str], float]) -> None:
        self._weight_of = weight_of
        self._lines: dict[str, _Line] = {}
        self._usual_s: dict[tuple[str, str], float] = {}  # (backend id, public name) -> what a call of it takes

    async def enter(self, backend: Backend, user_id: str, model: str, *, is_background: bool) -> Seat | None:
        """A seat, when it is this call's turn; None for a backend that takes as many calls as come.

        Raises QueueFull. A caller who leaves while waiting (CancelledError) waits no more.
        """
        if not backend.slots:
            return None
        line = self._lines.setdefault(backend.id, _Line())
        line.slots = backend.slots
        now = time.monotonic()
        ticket = Ticket(
            member=user_id,
            model=model,
            is_background=is_background,
            expected_s=self._usual_s.get((backend.id, model), _GUESS_S),
            since=now,
            weight=self._weight_of(user_id),
        )
        if len(line.running) < line.slots and not line.waiting:
            line.share.begin(ticket)
            line.running[ticket] = now
            seat = Seat(self, backend.id, ticket, place=0, expected_s=0.0)
            seat.take(now)
            return seat
        if line.share.waiting_of(user_id) >= MOST_WAITING:
            raise QueueFull
        turn = line.waiting[ticket] = asyncio.get_running_loop().create_future()
        line.share.join(ticket)
        self._seat(line, now)  # there may be more seats than there were
        place, expected_s = next(((at, wait) for each, at, wait in _turns(line, now) if each is ticket), (0, 0.0))
        seat = Seat(self, backend.id, ticket, place=place, expected_s=expected_s)
        try:
            await turn
        except asyncio.CancelledError:
            if ticket in line.running:
                self._free(backend.id, ticket, time.monotonic(), counts=False)
            else:
                del line.waiting[ticket]
                line.share.leave(ticket)
            raise
        seat.take(time.monotonic())
        return seat

    def standings(self, backend_id: str) -> list[Standing]:
        """Those that run there, then those that wait, in the order in which they are expected to run."""
        line = self._lines.get(backend_id)
        if line is None:
            return []
        now = time.monotonic()
        found = [_standing(ticket, now - since) for ticket, since in line.running.items()]
        for ticket, place, expected_s in _turns(line, now):
            found.append(_standing(ticket, now - ticket.since, place=place, expected_s=expected_s))
        return found

    def all(self) -> list[Standing]:
        return [each for backend_id in self._lines for each in self.standings(backend_id)]

    def _free(self, backend_id: str, ticket: Ticket, now: float, *, counts: bool = True) -> None:
        line = self._lines[backend_id]
        took = now - line.running.pop(ticket)
        line.share.end(ticket, took)
        if counts:
            key = (backend_id, ticket.model)
            self._usual_s[key] = (1 - _NEW) * self._usual_s.get(key, took) + _NEW * took
        self._seat(line, now)
        if not line.running and not line.waiting:
            line.share = FairShare()  # nobody is owed anything once everybody is idle

    def _seat(self, line: _Line, now: float) -> None:
        while len(line.running) < line.slots and (ticket := line.share.next(now)) is not None:
            line.running[ticket] = now
            turn = line.waiting.pop(ticket)
            if not turn.cancelled():
                turn.set_result(None)


def _turns(line: _Line, now: float) -> Iterator[tuple[Ticket, int, float]]:
    """Those that wait, the next one first: each with its place (from 1) and the seconds until its turn."""
    ahead_s = sum(max(0.0, ticket.expected_s - (now - since)) for ticket, since in line.running.items())
    for place, ticket in enumerate(line.share.order(now), start=1):
        yield ticket, place, ahead_s / line.slots
        ahead_s += ticket.expected_s


def _standing(ticket: Ticket, since_s: float, *, place: int = 0, expected_s: float = 0.0) -> Standing:
    return Standing(ticket.member, ticket.model, ticket.is_background, since_s, place, expected_s)
