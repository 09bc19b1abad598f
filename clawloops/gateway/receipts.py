"""What workspaces had to do with the internet, counted in memory until the control plane has written it down."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.clock import now_ms
from clawloops.model.egress import Outcome, Receipt

HOUR_MS = 60 * 60 * 1000
MOST_PLACES = 100  # of one member in one hour; what goes on to yet other places is counted as one
MOST_REFUSED = 20  # likewise, of places that nobody was connected to: they hide none of the others
ELSEWHERE = "(other places)"
_Key = tuple[str, int, str, int, Outcome]


@dataclass(slots=True)
class Count:
    """One place of one hour, since it was last written down."""

    address: str = ""
    connections: int = 0
    sent: int = 0
    received: int = 0
    first_at: int = 0
    last_at: int = 0


class Receipts:
    def __init__(self) -> None:
        self._counts: dict[_Key, Count] = {}
        self._places: dict[tuple[str, int, bool], set[tuple[str, int, Outcome]]] = {}  # of a member and hour; refused

    def note(self, user_id: str, host: str, port: int, outcome: Outcome, *, address: str = "") -> None:
        """A connection was wanted."""
        count = self._count(user_id, host, port, outcome)
        count.connections += 1
        count.address = address or count.address

    def moved(self, user_id: str, host: str, port: int, *, sent: int = 0, received: int = 0) -> None:
        """Bytes went through a connection that had passed."""
        count = self._count(user_id, host, port, Outcome.PASSED)
        count.sent += sent
        count.received += received

    def take(self) -> list[Receipt]:
        """What was counted since the last time; each adds to what is written of its hour and place."""
        taken, self._counts = self._counts, {}
        hour = _hour(now_ms())
        self._places = {key: places for key, places in self._places.items() if key[1] == hour}
        return [
            Receipt(
                *(user_id, begins, host, port, outcome, count.address),
                *(count.connections, count.sent, count.received, count.first_at, count.last_at),
            )
            for (user_id, begins, host, port, outcome), count in taken.items()
        ]

    def give_back(self, receipts: list[Receipt]) -> None:
        """They could not be written down."""
        for each in receipts:
            count = self._counts.setdefault((each.user_id, each.hour, each.host, each.port, each.outcome), Count())
            count.address = count.address or each.address
            count.connections += each.connections
            count.sent += each.sent
            count.received += each.received
            count.first_at = each.first_at
            count.last_at = max(count.last_at, each.last_at)

    def _count(self, user_id: str, host: str, port: int, outcome: Outcome) -> Count:
        now = now_ms()
        hour = _hour(now)
        is_refused = outcome is not Outcome.PASSED
        places = self._places.setdefault((user_id, hour, is_refused), set())
        place = (host, port, outcome)
        if place not in places:
            if len(places) >= (MOST_REFUSED if is_refused else MOST_PLACES):
                host, port = ELSEWHERE, 0
            else:
                places.add(place)
        count = self._counts.setdefault((user_id, hour, host, port, outcome), Count(first_at=now))
        count.last_at = now
        return count


def _hour(at: int) -> int:
    return at - at % HOUR_MS
