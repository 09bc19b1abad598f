"""Who is next at a backend that serves few calls at once: a weighted fair share of its time for each member. Pure.

Start-time fair queueing (Goyal, Vin, Cheng 1996), with members as flows: a call begins at its member's virtual time,
which moves on by the time it takes (first as it is expected, then as it was) divided by the member's weight. The
lowest virtual time is next. Whoever was idle starts where the others are, so that nobody saves up a lead.

Two things come before that order, and both are bounded. A person's turn goes before background work, until that has
waited `PATIENCE_S`. And a call for the model that ran last may go before one for another model, as long as its virtual
time is at most `AFFINITY_S` later: a model is not thrown out of memory for every other call.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

PATIENCE_S = 60.0
AFFINITY_S = 10.0


@dataclass(slots=True, eq=False)
class Ticket:
    """One call that waits or runs. Times are in seconds."""

    member: str
    model: str
    is_background: bool
    expected_s: float
    since: float  # when it came; a clock that only rises
    weight: float = 1.0


class FairShare:
    """The calls that wait at one backend, and what each member has had of it."""

    def __init__(self) -> None:
        self._now = 0.0  # virtual: where somebody who was idle starts
        self._starts: dict[str, float] = {}  # member -> virtual time at which their next call begins
        self._active: Counter[str] = Counter()  # member -> calls that wait or run
        self._lanes: dict[tuple[str, bool], deque[Ticket]] = {}  # (member, is background), first come first served
        self._last_model = ""

    def waiting_of(self, member: str) -> int:
        return sum(len(self._lanes.get((member, each), ())) for each in (False, True))

    def join(self, ticket: Ticket) -> None:
        self._arrive(ticket.member)
        self._lanes.setdefault((ticket.member, ticket.is_background), deque()).append(ticket)

    def leave(self, ticket: Ticket) -> None:
        """It waits no more, and will not run."""
        self._take(ticket)
        self._depart(ticket.member)

    def _take(self, ticket: Ticket) -> None:
        key = (ticket.member, ticket.is_background)
        self._lanes[key].remove(ticket)
        if not self._lanes[key]:
            del self._lanes[key]

    def next(self, now: float) -> Ticket | None:
        """Take the one that is to run; None when nobody waits."""
        if not self._lanes:
            return None
        heads = [lane[0] for lane in self._lanes.values()]
        rank = min(_rank(each, now) for each in heads)
        heads = [each for each in heads if _rank(each, now) == rank]
        first = min(heads, key=self._turn)
        chosen = first
        if first.model != self._last_model and now - first.since < PATIENCE_S:
            latest = self._starts[first.member] + AFFINITY_S
            same = [each for each in heads if each.model == self._last_model and self._starts[each.member] <= latest]
            chosen = min(same, key=self._turn, default=first)
        self._take(chosen)
        self._now = max(self._now, self._starts[first.member])
        self._run(chosen)
        return chosen

    def begin(self, ticket: Ticket) -> None:
        """It runs without having waited."""
        self._arrive(ticket.member)
        self._run(ticket)

    def _run(self, ticket: Ticket) -> None:
        self._starts[ticket.member] += ticket.expected_s / ticket.weight
        self._last_model = ticket.model

    def end(self, ticket: Ticket, took_s: float) -> None:
        """It has run for so long: what was expected is made good."""
        self._starts[ticket.member] += (took_s - ticket.expected_s) / ticket.weight
        self._depart(ticket.member)

    def order(self, now: float) -> list[Ticket]:
        """Those that wait, in the order in which they are expected to run (the model that is loaded left aside)."""
        return [ticket for _, ticket in sorted(self._expected(now), key=lambda each: each[0])]

    def _expected(self, now: float) -> Iterator[tuple[tuple[int, float, float], Ticket]]:
        for (member, _), lane in self._lanes.items():
            start = self._starts[member]
            for ticket in lane:
                yield (_rank(ticket, now), start, ticket.since), ticket
                start += ticket.expected_s / ticket.weight

    def _turn(self, ticket: Ticket) -> tuple[float, float]:
        return self._starts[ticket.member], ticket.since

    def _arrive(self, member: str) -> None:
        if not self._active[member]:  # only then: whoever waits all the time keeps what they are owed
            self._starts[member] = max(self._now, self._starts.get(member, 0.0))
        self._active[member] += 1

    def _depart(self, member: str) -> None:
        self._active[member] -= 1
        if not self._active[member]:
            del self._active[member]
            self._starts = {each: at for each, at in self._starts.items() if at > self._now or each in self._active}


def _rank(ticket: Ticket, now: float) -> int:
    return int(ticket.is_background and now - ticket.since < PATIENCE_S)
