"""What keeps runtimes in: how the last self-test went, and who may not run because a wall is open, or has to wait.

One whose decoy key was used (`control.decoys`) is held in the way of one whose network is open, until it is let go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from clawloops.clock import steady_ms

_log = logging.getLogger(__name__)

PASSES = 2  # tests in a row that have to end well before anybody goes on
APART_MS = 2000  # two looks at a network that are nearer than this are one test
FIRST_TEST_MS = 20_000  # for so long, a start waits for the first test


class Verdict(StrEnum):
    PENDING = "pending"  # none has ended yet
    CLOSED = "closed"
    OPEN = "open"
    UNTESTED = "untested"  # the test itself could not be made, which stops nobody


@dataclass(frozen=True, slots=True)
class Finding:
    """What one self-test found."""

    verdict: Verdict
    why: str = ""  # with OPEN and UNTESTED: what an admin has to know
    at: int = 0  # Unix ms


@dataclass(slots=True)
class _Held:
    why: str
    passes: int = 0
    passed_at: int = 0  # steady ms


class Walls:
    """Memory only: a new control plane tests before it starts anybody. Not for threads."""

    def __init__(self, note: Callable[[str, str, str], None] = lambda action, runtime_id, detail: None) -> None:
        """`note` keeps for the audit that walls were found open, or are closed again ("" for all runtimes)."""
        self.last = Finding(Verdict.PENDING)
        self._note = note
        self._all: _Held | None = None
        self._own: dict[str, _Held] = {}
        self._caught: dict[str, str] = {}  # runtime id -> why an admin has to look at it first
        self._expected_at: int | None = None

    def expect(self) -> None:
        """A first test is on its way: starts wait for it, though not for long."""
        self._expected_at = steady_ms()

    def waits(self) -> str:
        """Why a start has to wait now, or ""."""
        if self.last.verdict is not Verdict.PENDING or self._expected_at is None:
            return ""
        soon = steady_ms() - self._expected_at < FIRST_TEST_MS
        return "the walls around workspaces are being tested first" if soon else ""

    @property
    def all_held(self) -> bool:
        """Whether nobody may run."""
        return self._all is not None

    @property
    def held(self) -> frozenset[str]:
        """Ids of the runtimes that may not run, frozen or not, because of something of their own."""
        return frozenset(self._own.keys() | self._caught.keys())

    @property
    def open_networks(self) -> frozenset[str]:
        """Ids of those of them whose own network is open: it is looked at again until it is closed."""
        return frozenset(self._own)

    @property
    def alarm(self) -> str:
        """What every page tells an admin; "" when no wall is known to be open."""
        if self._all is not None:
            return f"All workspaces are stopped: {self._all.why}. They start again once the self-test has passed twice."
        if self._own:
            count = "A workspace is" if len(self._own) == 1 else f"{len(self._own)} workspaces are"
            return f"{count} stopped because of an open network: {next(iter(self._own.values())).why}."
        return ""

    def why(self, runtime_id: str) -> str:
        """Why this runtime may not run now, in words for its member; "" when it may."""
        if runtime_id in self._caught:
            return self._caught[runtime_id]
        if runtime_id in self._own:
            return (
                f"{self._own[runtime_id].why}, so it was stopped; it starts again by itself once its network is closed "
                "again"
            )
        if self._all is not None:
            return (
                "a self-test found a way out of the networks of workspaces, so all of them were stopped; they start "
                "again by themselves once it is closed. An administrator finds it under Box"
            )
        return ""

    def hold(self, runtime_id: str, why: str) -> None:
        """It may not run until `let_go`, whether there is such a one now or not. `why`: in words for its member."""
        self._caught[runtime_id] = why

    def let_go(self, runtime_id: str) -> None:
        """Nothing happens when it is not held."""
        self._caught.pop(runtime_id, None)

    def tested(self, finding: Finding) -> bool:
        """Take in what a self-test found. Returns whether every runtime has to be looked at because of it."""
        before, held = self.last, self._all
        self.last = finding
        if finding.verdict is not before.verdict:
            level = logging.INFO if finding.verdict is Verdict.CLOSED else logging.ERROR
            _log.log(level, "self-test of the isolation: %s %s", finding.verdict, finding.why)
        match finding.verdict:
            case Verdict.OPEN:
                self._all = _Held(finding.why)
                if held is None:
                    self._note("isolation broken", "", finding.why)
            case Verdict.CLOSED if held is not None:
                held.passes += 1
                if held.passes >= PASSES:
                    self._all = None
                    self._note("isolation restored", "", held.why)
            case _ if held is not None:
                held.passes = 0
            case _:
                pass
        return before.verdict is Verdict.PENDING or (held is None) is not (self._all is None)

    def saw(self, runtime_id: str, why: str) -> None:
        """Take in what a look at one runtime's own network found; `why`: what is open about it, "" for nothing."""
        held = self._own.get(runtime_id)
        if why:
            self._own[runtime_id] = _Held(why)
            if held is None:
                _log.error("runtime %s: %s", runtime_id, why)
                self._note("isolation broken", runtime_id, why)
        elif held is not None and steady_ms() - held.passed_at >= APART_MS:
            held.passes, held.passed_at = held.passes + 1, steady_ms()
            if held.passes >= PASSES:
                self.forget(runtime_id)
                self._note("isolation restored", runtime_id, held.why)

    def forget(self, runtime_id: str) -> None:
        """It is gone. Made again, it still has to wait for whoever holds it."""
        self._own.pop(runtime_id, None)
