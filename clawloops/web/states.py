"""What a person reads about a workspace: the wish and the latest view, put into words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.model.runtime import STEPS, Limits, Phase, Policy, Runtime, Size, Sleep, View, Want
from clawloops.orchestrator.walls import Verdict, Walls

_STAGES = {
    Phase.NETWORK: ("Private network", "Closed to everybody else"),
    Phase.CONTAINER: ("Container", "A locked-down container with your files"),
    Phase.BOOT: ("OpenClaw starts", "Usually about ten seconds"),
    Phase.READY: ("Ready", "You are let in automatically"),
}
_SLEEPS = (Phase.PAUSED, Phase.ASLEEP)
_RESTING = (Phase.ABSENT, Phase.STOPPED, Phase.STOPPING, *_SLEEPS)


@dataclass(frozen=True, slots=True)
class State:
    word: str
    tone: str  # ok, busy, off or bad
    text: str
    why: str = ""  # why it is awake, asleep or stopped


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    note: str
    mark: str  # done, now or next
    took_ms: int | None  # done: how long it took; now: how long it has taken so far


def state_of(runtime: Runtime | None, view: View) -> State:
    """One word, one tone, one sentence, and why. A fresh wish counts before Docker has followed it."""
    if runtime is None:
        return State("Not made yet", "off", "Your own OpenClaw, in its own container. The first start takes a moment.")
    if view.phase is Phase.UNKNOWN:
        return State("Unknown", "bad", sentence(view.reason) or "Docker does not answer right now.")
    if view.phase is Phase.WORKING:
        what = sentence(view.reason)
        if runtime.want is Want.RUNNING:
            what = f"{what} It goes on by itself when that is done."
        return State("Working", "busy", what)
    match runtime.want:
        case Want.RUNNING:
            return _opening(runtime, view)
        case Want.STOPPED:
            why = sentence(runtime.sleep_why)
            if view.phase in (Phase.STOPPED, Phase.ABSENT):
                return State("Stopped", "off", "Its files are kept. It starts again when it is opened.", why)
            return State("Stopping", "busy", "A turn that is under way may finish first.", why)
        case Want.GONE:
            if view.phase is Phase.ABSENT:
                return State("Container deleted", "off", "Its files are kept. Opening makes a new container for them.")
            return State("Deleting container", "busy", "Its files are kept.")


def _opening(runtime: Runtime, view: View) -> State:
    asleep = runtime.sleep is not Sleep.AWAKE
    match view.phase:
        case Phase.READY:
            return State("Ready", "ok", "OpenClaw is running.", sentence(view.why))
        case Phase.PAUSED if asleep:
            return State("Asleep", "off", "It opens at once.", sentence(runtime.sleep_why))
        case Phase.ASLEEP if asleep:
            return State("Asleep", "off", "It starts when it is opened.", sentence(runtime.sleep_why))
        case Phase.PAUSED | Phase.ASLEEP:
            return State("Waking", "busy", "It is being woken.", sentence(runtime.sleep_why))
        case Phase.QUEUED:
            return State("Waiting", "busy", f"{_place(view)}: {view.reason or 'others are starting first'}.")
        case Phase.DEGRADED:
            return State("Needs attention", "bad", sentence(view.reason) or "It could not be started.")
        case Phase.BOOT:
            return State("Starting", "busy", "OpenClaw is starting in its container.", sentence(view.why))
        case Phase.CONTAINER:
            return State("Starting", "busy", "The container is being made.")
        case Phase.NETWORK:
            return State("Starting", "busy", "The private network is being made.")
        case _:
            return State("Starting", "busy", "The wish is noted; the box is about to begin.")


def state_of_walls(walls: Walls) -> State:
    """The same for the isolation of all workspaces, from its last self-test."""
    why = sentence(walls.last.why)
    match walls.last.verdict:
        case Verdict.OPEN:
            stops = "All workspaces are stopped until the test has ended well twice."
            return State("Open", "bad", f"{why} {stops}")
        case Verdict.UNTESTED:
            stays = "What was stopped stays so." if walls.all_held else "Nobody is stopped for that."
            return State("Not tested", "bad", f"{why} {stays}")
        case Verdict.CLOSED if walls.all_held:
            return State("Closed again", "busy", "Workspaces start again after the next test that ends well.")
        case Verdict.CLOSED:
            return State("Closed", "ok", "From a workspace's network, only the model gateway can be reached.")
        case Verdict.PENDING:
            return State("Being tested", "busy", "The first test since the control plane was started is under way.")


def stages_of(runtime: Runtime, view: View, *, now: int) -> list[Stage]:
    """The progress list: finished stages with their length, the one under way with its elapsed time.

    A wish that the loop has not taken up yet is under way as well, with no time of its own. Who waits for a turn has a
    network and a container already.
    """
    wished = runtime.want is Want.RUNNING and view.phase in _RESTING
    queued = view.phase is Phase.QUEUED
    took = dict(view.steps)
    at = Phase.BOOT if queued else view.phase
    reached = STEPS.index(at) if at in STEPS else -1
    stages = []
    for index, phase in enumerate(STEPS):
        name, note = _STAGES[phase]
        if phase is at is not Phase.READY:
            elapsed = max(0, now - view.since) if view.since else 0
            stages.append(Stage(name, _place(view) if queued else note, "now", elapsed))
        elif index == 0 and wished:
            stages.append(Stage(name, note, "now", None))
        elif index <= reached:
            stages.append(Stage(name, note, "done", took.get(phase)))
        else:
            stages.append(Stage(name, note, "next", None))
    return stages


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to answer a question of the settings."""

    value: str
    name: str
    text: str


POLICIES = (
    Choice(Policy.ALWAYS_ON, "Always on", "Never sleeps. For somebody who is reached by messages all the time."),
    Choice(Policy.PAUSE, "Pause only", "Sleeps in memory when nobody uses it, and opens at once."),
    Choice(Policy.STOP, "Pause, then stop", "Sleeps in memory first; later it gives its memory back, and then starts."),
)


def size_name(size: Size) -> str:
    return {Size.SMALL: "Small", Size.MEDIUM: "Medium", Size.LARGE: "Large"}[size]


def policy_name(policy: Policy) -> str:
    return next(each.name for each in POLICIES if each.value == policy)


def size_text(limits: Limits) -> str:
    """2 GiB of memory, 2 cores"""
    memory = f"{limits.memory_mb / 1024:.1f}".removesuffix(".0")
    cores = f"{limits.cpus:.1f}".removesuffix(".0")
    return f"{memory} GiB of memory, 1 core" if cores == "1" else f"{memory} GiB of memory, {cores} cores"


def _place(view: View) -> str:
    if view.place is None:
        return "Waiting to start"
    place, of = view.place
    if of == 1:
        return "Next to start"
    match 0 if place % 100 in (11, 12, 13) else place % 10:  # each is a message of its own in other languages
        case 1:
            return f"{place}st of {of} waiting to start"
        case 2:
            return f"{place}nd of {of} waiting to start"
        case 3:
            return f"{place}rd of {of} waiting to start"
        case _:
            return f"{place}th of {of} waiting to start"


def sentence(text: str) -> str:
    """Text as a sentence: a capital first, a full stop last."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""
