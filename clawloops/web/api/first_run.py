"""The first steps of this box: how far they are, and passing over them."""

from __future__ import annotations

from clawloops.control.first_run import Standing, Step
from clawloops.web.api.operation import Call
from clawloops.web.api.shapes import Shown
from clawloops.web.context import FIRST_RUN


class FirstStep(Shown, frozen=True):
    step: Step
    is_done: bool
    is_skipped: bool
    """Somebody has passed over it; it may be done all the same."""


class FirstRun(Shown, frozen=True):
    steps: list[FirstStep]
    next: Step | None
    """The first that is neither done nor skipped."""
    is_over: bool
    """Nobody is led there any more: all are done or skipped, or it was dismissed."""


async def show(call: Call) -> FirstRun:
    """Read off the box: the owner's second factor, a model that has answered, somebody else or a link for them."""
    return _shown(await call.app[FIRST_RUN].standing())


async def skip(call: Call, step: Step) -> FirstRun:
    """Nothing happens to one that is skipped already."""
    await call.app[FIRST_RUN].skip(step, by=call.user)
    return await show(call)


async def dismiss(call: Call) -> FirstRun:
    """The dashboard leads nobody there any more."""
    await call.app[FIRST_RUN].dismiss(by=call.user)
    return await show(call)


def _shown(standing: Standing) -> FirstRun:
    steps = [FirstStep(step=each, is_done=each in standing.done, is_skipped=each in standing.skipped) for each in Step]
    return FirstRun(steps=steps, next=standing.next, is_over=standing.is_over)
