"""Puts one runtime to sleep: by the rules, never against OpenClaw's own word, and never past its next scheduled job."""

from __future__ import annotations

from dataclasses import replace

from clawloops.clock import steady_ms
from clawloops.errors import Unavailable
from clawloops.model.runtime import Policy, Runtime, Sleep
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.ask import Busy, Control, NoAnswer, Ready
from clawloops.orchestrator.sleep import Rules, alarm, due, minutes, worth_it

ASK_AGAIN_MS = 60_000  # after OpenClaw said that it is busy
LEASE_MS = 125_000  # OpenClaw's own two minutes, and what a slow answer adds


class Doze:
    """What is known of one runtime's idleness. `busy`: what OpenClaw itself is doing, "" when nothing is known."""

    def __init__(self, control: Control, activity: Activity, rules: Rules) -> None:
        self._control = control
        self._activity = activity
        self._rules = rules
        self._asked_at: int | None = None
        self._let_at: int | None = None  # when it was let to sleep: who comes later may meet a frozen one
        self._closed_until = steady_ms() + LEASE_MS  # whoever was here before may have asked
        self.busy = ""

    def woken(self, desired: Runtime, why: str) -> Runtime:
        """The row of one that is awake from now on; nothing of before counts."""
        self._asked_at, self._let_at, self.busy = None, None, ""
        self._activity.touch(desired.id, why)
        return replace(desired, sleep=Sleep.AWAKE, sleep_why=f"It was woken: {why}.", wake_at=0)

    def may_be_closed(self) -> None:
        """OpenClaw was asked for its agreement, or goes on after a pause: it may refuse new work until it is told."""
        self._closed_until = steady_ms() + LEASE_MS

    def is_new(self) -> None:
        """It boots: an OpenClaw that was asked nothing yet is open, and is not disturbed in its first moments."""
        self._closed_until = 0

    async def open(self, address: str) -> None:
        """Let it take new work again; costs nothing where it is known to do so. What fails ends with the lease.

        Until then OpenClaw says to a probe that it is draining, as if it came to its end.
        """
        if steady_ms() < self._closed_until and await self._control.resume(address):
            self._closed_until = 0

    def came_up(self, runtime_id: str) -> None:
        """It is ready again: its idle time counts from here, whoever wanted that, and by whatever way."""
        self._activity.came_up(runtime_id)

    async def _deeper(
        self, desired: Runtime, address: str | None, *, paused_ms: int, now: int, pressed: bool
    ) -> Runtime | None:
        idle_ms = self._activity.idle_ms(desired.id)
        tier = due(desired, self._rules, idle_ms=idle_ms, paused_ms=paused_ms, now=now, pressed=pressed)
        if tier is None:
            return None
        if desired.sleep is Sleep.AWAKE:
            if address is None:
                return None
            return await self._let(desired, address, tier, idle_ms=idle_ms, now=now, pressed=pressed)
        why = "the box was short of memory" if pressed else f"nobody used it for {minutes(paused_ms)} more"
        return replace(desired, sleep=tier, sleep_why=f"It was stopped because {why}.", sleep_at=now)

    def rest_s(self, desired: Runtime, *, paused_ms: int, now: int) -> list[float]:
        """In how many seconds something falls due, if nobody comes: a deeper sleep, or its next scheduled job."""
        if desired.sleep is Sleep.PAUSED:
            deeper = self._rules.stop_after_ms - paused_ms
        else:
            deeper = self._rules.pause_after_ms - self._activity.idle_ms(desired.id)
        return [each / 1000 for each in (deeper, alarm(desired) - now) if each > 0]

    async def turn(
        self, desired: Runtime, address: str | None, *, paused_ms: int, now: int, pressed: bool
    ) -> Runtime | None:
        """The row as it should be now, woken or sleeping deeper; None while it should stay as it is.

        `address`: where OpenClaw answers, None while it is asleep. `now`: Unix ms, for its scheduled jobs.
        """
        if (at := alarm(desired)) and now >= at:
            return self.woken(desired, "its next scheduled job is due")
        asleep_ms = max(paused_ms, steady_ms() - self._let_at if self._let_at is not None else 0)
        if desired.sleep is Sleep.PAUSED and self._activity.idle_ms(desired.id) < asleep_ms:
            return self.woken(desired, "somebody came while it fell asleep")
        return await self._deeper(desired, address, paused_ms=paused_ms, now=now, pressed=pressed)

    async def is_idle(self, desired: Runtime, address: str) -> bool:
        """Whether nothing is going on in it now: nobody used it for a minute, and OpenClaw says so."""
        if self._activity.idle_ms(desired.id) < ASK_AGAIN_MS or self._asked_lately():
            return False
        return await self._agrees(address)

    async def _let(
        self, desired: Runtime, address: str, tier: Sleep, *, idle_ms: int, now: int, pressed: bool
    ) -> Runtime | None:
        if self._asked_lately():
            return None
        try:
            polling = await self._control.polling(address)
            next_job = await self._control.next_job(address)
        except Unavailable as error:
            self._asked_at, self.busy = steady_ms(), f"OpenClaw does not say whether it is idle ({error})"
            return None
        if polling and not desired.sleeps_despite_polling:
            self._asked_at, self.busy = steady_ms(), f"{', '.join(polling)} asks for new messages all the time"
            return None
        if not worth_it(desired, tier, now=now, next_job=next_job):
            self._asked_at, self.busy = steady_ms(), "its next scheduled job is due soon"
            return None
        if not await self._agrees(address):
            return None
        self._let_at = steady_ms()
        if self._activity.idle_ms(desired.id) < idle_ms:  # somebody came while we asked
            await self.open(address)
            return None
        because = "the box was short of memory" if pressed else f"nobody used it for {minutes(idle_ms)}"
        verb = "paused" if tier is Sleep.PAUSED else "stopped"
        return replace(
            desired, sleep=tier, sleep_why=f"It was {verb} because {because}.", sleep_at=now, wake_at=next_job or 0
        )

    async def _agrees(self, address: str) -> bool:
        self._asked_at = steady_ms()
        self.may_be_closed()  # also where its answer is lost
        match await self._control.prepare(address):
            case Ready():
                self.busy = ""
                return True
            case Busy(blockers):
                self.busy = "; ".join(blockers) or "OpenClaw is busy"
            case NoAnswer(reason):
                self.busy = f"OpenClaw does not say whether it is idle ({reason})"
        return False

    def _asked_lately(self) -> bool:
        return self._asked_at is not None and _since(self._asked_at) < ASK_AGAIN_MS

    def why(self, desired: Runtime) -> str:
        """Why it is awake, in one sentence that does not change from minute to minute."""
        if desired.policy is Policy.ALWAYS_ON:
            return "It is set to stay awake."
        after = f"it sleeps after {minutes(self._rules.pause_after_ms)} without use"
        if self._activity.calls(desired.id):
            return f"A model is answering; {after}."
        if self.busy and self._asked_at is not None and self._activity.idle_ms(desired.id) >= _since(self._asked_at):
            return f"{self.busy[:1].upper()}{self.busy[1:]}; {after}."
        what = self._activity.what(desired.id) or desired.sleep_why.rstrip(".") or "It was started"
        return f"{what[:1].upper()}{what[1:]}; {after}."


def _since(instant: int) -> int:
    return steady_ms() - instant
