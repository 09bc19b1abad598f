"""Who used which runtime last, and for what. Memory only: after a restart everybody counts as just seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clawloops.clock import steady_ms
from clawloops.model.usage import Call

ATTENDED_MS = 600_000  # an agent's turn, with its many calls, may take so long
JUST_NOW_MS = 10_000  # who came so long ago may still wait to be let in
SLOW_MS = 20_000  # a caller who leaves an answer that has taken so long has the model to blame


class Activity:
    """Told by the relay, ForwardAuth and the gateway, read by the keepers. Instants are monotonic, in ms."""

    def __init__(self) -> None:
        self._began = steady_ms()
        self._last: dict[str, tuple[int, str]] = {}
        self._came: dict[str, int] = {}  # as `_last`, without those that only came up
        self._people: dict[str, int] = {}
        self._calls: dict[str, list[int]] = {}  # runtime -> when each call under way began
        self._tended: dict[str, int] = {}
        self._settled: dict[str, tuple[int, bool]] = {}  # runtime -> when, and whether its model is to blame

    def touch(self, runtime_id: str, what: str) -> None:
        """Somebody or something used it just now. `what`: a sentence for the runtime's page. Never blocks."""
        self._came[runtime_id] = now = steady_ms()
        self._last[runtime_id] = (now, what)

    def came_up(self, runtime_id: str) -> None:
        """It is ready again: its idle time counts from here, whoever wanted that."""
        self._last[runtime_id] = (steady_ms(), self.what(runtime_id))

    def person(self, runtime_id: str, what: str) -> None:
        """A person used it just now, as `touch`."""
        self.touch(runtime_id, what)
        self._people[runtime_id] = steady_ms()

    def is_attended(self, runtime_id: str) -> bool:
        """Whether a person waits for what it does: one used it less than `ATTENDED_MS` ago, or we ask it something."""
        return runtime_id in self._tended or steady_ms() - self._people.get(runtime_id, -ATTENDED_MS) < ATTENDED_MS

    @contextmanager
    def tending(self, runtime_id: str) -> Iterator[None]:
        """Whatever it does meanwhile was asked for by the control plane: it counts as attended."""
        self._tended[runtime_id] = self._tended.get(runtime_id, 0) + 1
        try:
            yield
        finally:
            self._tended[runtime_id] -= 1
            if not self._tended[runtime_id]:
                del self._tended[runtime_id]

    @contextmanager
    def call(self, runtime_id: str) -> Iterator[None]:
        """A model call that is under way: it is in use until that ends."""
        began, under_way = steady_ms(), self._calls.setdefault(runtime_id, [])
        under_way.append(began)
        try:
            yield
        finally:
            under_way.remove(began)
            self.touch(runtime_id, "a model was asked")

    def calls(self, runtime_id: str) -> int:
        """Model calls that are under way."""
        return len(self._calls.get(runtime_id, ()))

    def settled(self, call: Call) -> None:
        """A model call has ended, as the gateway has it in its books. One of a member's own tool is nobody's here."""
        if not call.runtime_id:
            return
        slow = call.status == 499 and call.total_ms >= SLOW_MS
        # The gateway's 429 and 5xx mean the backend and its set-up; any other refusal means what the runtime has sent.
        blame = slow or call.status == 429 or call.status >= 500
        self._settled[call.runtime_id] = (steady_ms(), blame)

    def refused(self, runtime_id: str) -> None:
        """A model call was not let through: its budget is used up, or it is held. That says nothing of the runtime.

        `runtime_id`: "" for that of a member's own tool.
        """
        if not runtime_id:
            return
        self._settled[runtime_id] = (steady_ms(), True)

    def model_to_blame(self, runtime_id: str, *, since: int) -> bool:
        """Whether a runtime's last model call since then (steady ms) failed by the model's fault, not the runtime's.

        One that is still under way is slow before it is settled.
        """
        if any(began <= steady_ms() - SLOW_MS for began in self._calls.get(runtime_id, ())):
            return True
        at, blame = self._settled.get(runtime_id, (-1, False))
        return blame and at >= since

    def idle_ms(self, runtime_id: str) -> int:
        """How long nobody has used it; 0 while a model call is under way."""
        if self.calls(runtime_id):
            return 0
        return steady_ms() - self._last.get(runtime_id, (self._began, ""))[0]

    def what(self, runtime_id: str) -> str:
        """What it was last used for; "" when that is not known."""
        return self._last.get(runtime_id, (0, ""))[1]

    def is_wanted(self, runtime_id: str) -> bool:
        """Whether somebody has just come to it, and perhaps waits."""
        return steady_ms() - self._came.get(runtime_id, -JUST_NOW_MS) < JUST_NOW_MS

    def forget(self, runtime_id: str) -> None:
        self._last.pop(runtime_id, None)
        self._came.pop(runtime_id, None)
        self._people.pop(runtime_id, None)
        self._calls.pop(runtime_id, None)
        self._settled.pop(runtime_id, None)
