"""What a keeper remembers between two looks: one start of one container, and the signals that were sent."""

from __future__ import annotations

from clawloops.clock import steady_ms
from clawloops.runtimes.seen import Container, State

SILENT_MS = 60_000  # for so long a ready runtime may leave probes unanswered: a long turn can keep it busy


class Run:
    """Memory only: after a restart of the control plane all of it is found out again. Instants are monotonic, in ms."""

    def __init__(self) -> None:
        self.ready = False
        self.sigterm: dict[str, int] = {}  # container id -> when it was sent SIGTERM
        self.ours_up: str | None = None  # container that we saw or brought up, and that has no reason to end
        self._name = ""  # one start of one container
        self._began = 0
        self._ready_at = 0
        self._paused_at: int | None = None
        self._answered_at = 0
        self._silent = False

    def saw(self, kept: Container | None, *, up: set[str]) -> None:
        """Bring what is remembered in line with one look; `up`: ids of the containers that have a process."""
        for gone in self.sigterm.keys() - up:
            del self.sigterm[gone]
        running = kept is not None and kept.state in (State.RUNNING, State.PAUSED) and kept.id not in self.sigterm
        name = f"{kept.id} {kept.started_at}" if kept is not None and running else ""
        if name != self._name:
            self._name, self._began, self.ready, self._silent = name, steady_ms(), False, False
        if kept is None or kept.state is not State.PAUSED:
            if self._paused_at is not None:
                self._answered_at = steady_ms()  # frozen, it could not answer
            self._paused_at = None
        elif self._paused_at is None:
            self._paused_at = steady_ms()

    @property
    def running(self) -> bool:
        return self._name != ""

    @property
    def paused_ms(self) -> int:
        return steady_ms() - self._paused_at if self._paused_at is not None else 0

    @property
    def booting_ms(self) -> int:
        """How long it has run without being ready."""
        return steady_ms() - self._began

    @property
    def ready_ms(self) -> int:
        return steady_ms() - self._ready_at if self.ready else 0

    def probed(self, *, answers: bool) -> None:
        """A ready one that is silent for long counts as booting again."""
        now = steady_ms()
        self._silent = not answers
        if answers:
            self._answered_at = now
            if not self.ready:
                self.ready, self._ready_at = True, now
        elif self.ready and now - self._answered_at > SILENT_MS:
            self.ready, self._began = False, now

    @property
    def doubtful(self) -> bool:
        """It was ready and did not answer the last probe."""
        return self.ready and self._silent

    def draining(self) -> dict[str, int]:
        """For each container that was sent SIGTERM, how many ms ago."""
        now = steady_ms()
        return {each: now - since for each, since in self.sigterm.items()}
