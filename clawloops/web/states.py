"""What a person reads about a workspace: the wish and the latest view, put into words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.model.runtime import STEPS, Phase, Runtime, View, Want

_STAGES = {
    Phase.NETWORK: ("Private network", "Closed to everybody else"),
    Phase.CONTAINER: ("Container", "A locked-down container with your files"),
    Phase.BOOT: ("OpenClaw starts", "Usually about ten seconds"),
    Phase.READY: ("Ready", "You are let in automatically"),
}


@dataclass(frozen=True, slots=True)
class State:
    word: str
    tone: str  # ok, busy, off or bad
    text: str


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    note: str
    mark: str  # done, now or next
    took_ms: int | None  # done: how long it took; now: how long it has taken so far


def state_of(runtime: Runtime | None, view: View) -> State:
    """One word, one tone, one sentence. A fresh wish counts before Docker has followed it."""
    if runtime is None:
        return State("Not made yet", "off", "Your own OpenClaw, in its own container. The first start takes a moment.")
    if view.phase is Phase.UNKNOWN:
        return State("Unknown", "bad", _sentence(view.reason) or "Docker does not answer right now.")
    match runtime.want:
        case Want.RUNNING:
            return _opening(view)
        case Want.STOPPED:
            if view.phase in (Phase.STOPPED, Phase.ABSENT):
                return State("Stopped", "off", "Your files are kept. It starts again when you open it.")
            return State("Stopping", "busy", "A turn that is under way may finish first.")
        case Want.GONE:
            if view.phase is Phase.ABSENT:
                return State("Container deleted", "off", "Your files are kept. Opening makes a new container for them.")
            return State("Deleting container", "busy", "Your files are kept.")


def _opening(view: View) -> State:
    match view.phase:
        case Phase.READY:
            return State("Ready", "ok", "OpenClaw is running.")
        case Phase.DEGRADED:
            return State("Needs attention", "bad", _sentence(view.reason) or "It could not be started.")
        case Phase.BOOT:
            return State("Starting", "busy", "OpenClaw is starting in its container.")
        case Phase.CONTAINER:
            return State("Starting", "busy", "The container is being made.")
        case Phase.NETWORK:
            return State("Starting", "busy", "The private network is being made.")
        case _:
            return State("Starting", "busy", "Your wish is noted; the box is about to begin.")


def stages_of(runtime: Runtime, view: View, *, now: int) -> list[Stage]:
    """The progress list: finished stages with their length, the one under way with its elapsed time.

    A wish that the loop has not taken up yet is under way as well, with no time of its own.
    """
    wished = runtime.want is Want.RUNNING and view.phase in (Phase.ABSENT, Phase.STOPPED, Phase.STOPPING)
    took = dict(view.steps)
    reached = STEPS.index(view.phase) if view.phase in STEPS else -1
    stages = []
    for index, phase in enumerate(STEPS):
        name, note = _STAGES[phase]
        if phase is view.phase is not Phase.READY:
            stages.append(Stage(name, note, "now", max(0, now - view.since) if view.since else 0))
        elif index == 0 and wished:
            stages.append(Stage(name, note, "now", None))
        elif index <= reached:
            stages.append(Stage(name, note, "done", took.get(phase)))
        else:
            stages.append(Stage(name, note, "next", None))
    return stages


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""
