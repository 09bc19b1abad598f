"""Whether a runtime that nobody uses may go to sleep, and how deep. Pure.

Nothing is ever put to sleep on these rules alone: OpenClaw itself is asked first whether a turn is running.
"""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.model.runtime import Policy, Runtime, Sleep

PAUSE_LEAD_MS = 10_000  # woken so long before its next scheduled job is due
BOOT_LEAD_MS = 90_000  # the same for one that has to boot first
WORTH_IT_MS = 60_000  # a pause that would be shorter is not worth its trouble


@dataclass(frozen=True, slots=True)
class Rules:
    """After how many ms without use a runtime is paused, and after how many more in pause it is stopped."""

    pause_after_ms: int
    stop_after_ms: int


def due(runtime: Runtime, rules: Rules, *, idle_ms: int, paused_ms: int, now: int, pressed: bool) -> Sleep | None:
    """The deeper sleep that it is time for; None: leave it as it is.

    `idle_ms`, `paused_ms`: how long nobody has used it, how long it has been paused. `pressed`: the box is short of
    memory, and this runtime was chosen to give its own back.
    """
    if runtime.policy is Policy.ALWAYS_ON:
        return None
    may_stop = runtime.policy is Policy.STOP or pressed
    match runtime.sleep:
        case Sleep.AWAKE if pressed:
            return Sleep.STOPPED
        case Sleep.AWAKE if idle_ms >= rules.pause_after_ms and worth_it(runtime, Sleep.PAUSED, now=now):
            return Sleep.PAUSED
        case Sleep.PAUSED if may_stop and (pressed or paused_ms >= rules.stop_after_ms):
            return Sleep.STOPPED if worth_it(runtime, Sleep.STOPPED, now=now) else None
        case _:
            return None


def worth_it(runtime: Runtime, sleep: Sleep, *, now: int, next_job: int | None = None) -> bool:
    """Whether its next scheduled job leaves it time to sleep. `next_job`: as OpenClaw tells it now, Unix ms."""
    at = next_job if next_job is not None else runtime.wake_at
    return not at or at - lead_ms(sleep) - now >= WORTH_IT_MS


def lead_ms(sleep: Sleep) -> int:
    return BOOT_LEAD_MS if sleep is Sleep.STOPPED else PAUSE_LEAD_MS


def alarm(runtime: Runtime) -> int:
    """Unix ms at which it has to be woken for its next scheduled job; 0 when there is none."""
    return runtime.wake_at - lead_ms(runtime.sleep) if runtime.wake_at and runtime.sleep is not Sleep.AWAKE else 0


def minutes(ms: int) -> str:
    """A span for a person."""
    count = max(1, round(ms / 60_000))
    if count < 120:
        return "1 minute" if count == 1 else f"{count} minutes"
    return f"{round(count / 60)} hours"
