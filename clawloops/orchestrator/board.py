"""The latest view of every runtime, in memory, and a bus that tells of each change."""

from __future__ import annotations

from clawloops.bus import Bus
from clawloops.model.runtime import STEPS, Phase, Runtime, View


class Board:
    """Written by the loop alone. `bus` carries each changed View under its runtime id."""

    def __init__(self) -> None:
        self.bus: Bus[View] = Bus()
        self._views: dict[str, View] = {}
        self._slugs: dict[str, str] = {}

    def get(self, runtime_id: str) -> View:
        """The view of a runtime; ABSENT for one that was never looked at."""
        return self._views.get(runtime_id) or View(runtime_id, Phase.ABSENT)

    def by_slug(self, slug: str) -> View | None:
        """The view of the runtime behind a workspace host; None for a slug that nobody has."""
        runtime_id = self._slugs.get(slug)
        return None if runtime_id is None else self.get(runtime_id)

    def all(self) -> list[View]:
        return list(self._views.values())

    def know(self, runtime: Runtime) -> None:
        """Make a runtime's slug known; slugs are never reused, so none is ever taken back."""
        self._slugs[runtime.slug] = runtime.id

    def put(self, view: View) -> None:
        """Show this from now on; nothing is published when nothing changed."""
        if self._views.get(view.runtime_id) != view:
            self._views[view.runtime_id] = view
            self.bus.publish(view.runtime_id, view)

    def tell(self, runtime_id: str) -> None:
        """Something else that is shown of it has changed: its history, or the work on its workspace."""
        self.bus.publish(runtime_id, self.get(runtime_id))


class Opening:
    """How long each stage of one opening took. Instants are ms of a monotonic clock."""

    def __init__(self) -> None:
        self._began = 0
        self._stage: Phase | None = None  # the stage under way
        self._stage_began = 0
        self._steps: list[tuple[Phase, int]] = []

    def at(self, phase: Phase, now: int) -> tuple[tuple[Phase, int], ...]:
        """Note what is seen now. Returns the finished stages in the order of STEPS; READY carries the whole duration.

        A runtime that was ready when it was first looked at has no stages.
        """
        if phase in (Phase.UNKNOWN, self._stage):
            return tuple(self._steps)
        if phase not in STEPS:
            self._stage, self._steps = None, []
            return ()
        if self._stage is None or STEPS.index(phase) < STEPS.index(self._stage):
            self._begin(phase, now)
        else:
            self._advance(phase, now)
        return tuple(self._steps)

    def _begin(self, phase: Phase, now: int) -> None:
        before = STEPS[: STEPS.index(phase)]
        self._steps = [] if phase is Phase.READY else [(each, 0) for each in before]
        self._stage, self._began, self._stage_began = phase, now, now

    def _advance(self, phase: Phase, now: int) -> None:
        for each in STEPS[len(self._steps) : STEPS.index(phase)]:
            self._steps.append((each, now - self._stage_began))
            self._stage_began = now  # a stage that was passed over took no time of its own
        self._stage = phase
        if phase is Phase.READY:
            self._steps.append((phase, now - self._began))
