"""The box as its admins see it: what is left of it, who waits, every workspace, and what does not belong to us."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from clawloops.model.runtime import Phase, Runtime, View
from clawloops.orchestrator.admission import Box
from clawloops.web.context import ACCOUNTS, BOARD, HOST, RUNTIMES, SESSION, USER, Stranger
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.states import State, policy_name, size_name, state_of

OFTEN_S = 2.0

_COUNTED = {
    Phase.PAUSED: "Paused",
    Phase.ASLEEP: "Asleep",
    Phase.STOPPED: "Stopped",
    Phase.ABSENT: "Stopped",
    Phase.STOPPING: "Stopped",
    Phase.QUEUED: "Waiting",
    Phase.WORKING: "Working",
    Phase.DEGRADED: "In trouble",
    Phase.UNKNOWN: "In trouble",
}
_ALWAYS = ("Awake", "Paused", "Asleep", "Stopped")


@dataclass(frozen=True, slots=True)
class Line:
    """One workspace in the table."""

    runtime: Runtime
    owner: str
    is_disabled: bool
    view: View
    state: State
    policy: str
    size: str
    image: str


@dataclass(frozen=True, slots=True)
class Odd:
    """A stranger in Docker, and the command that a person may use about it."""

    kind: str
    name: str
    why: str
    command: str


async def show(request: web.Request) -> web.Response:
    return render(request, "box.html", **await _values(request))


async def live(request: web.Request) -> web.StreamResponse:
    async def part() -> tuple[object, str]:
        text = render_part(request, "partials/box.html", **await _values(request))
        return text, text

    return await stream(request, request[SESSION], "", part, every_s=OFTEN_S)


async def _values(request: web.Request) -> dict[str, Any]:
    app = request.app
    lines = [_line(app, each) for each in await app[RUNTIMES].all(by=request[USER])]
    counts = Counter(_COUNTED.get(each.view.phase, "Awake") for each in lines)
    queue = app[HOST].gate.queue()
    waiting = [each for each in lines if each.runtime.id in queue]
    return {
        "left": _left(app),
        "counts": [(name, counts[name]) for name in dict.fromkeys((*_ALWAYS, *counts))],
        "lines": lines,
        "queue": sorted(waiting, key=lambda each: queue.index(each.runtime.id)),
        "strangers": [_odd(each) for each in app[HOST].strangers],
    }


def _line(app: web.Application, runtime: Runtime) -> Line:
    owner, view = app[ACCOUNTS].get(runtime.owner), app[BOARD].get(runtime.id)
    return Line(
        runtime=runtime,
        owner=owner.name,
        is_disabled=owner.disabled_at is not None,
        view=view,
        state=state_of(runtime, view),
        policy=policy_name(runtime.policy),
        size=size_name(runtime.size),
        image=runtime.pin or runtime.image,
    )


def _left(app: web.Application) -> list[tuple[str, str]]:
    try:
        box: Box = app[HOST].gate.box()
    except OSError:  # what the page is for is the rest of it
        return []
    left = [("Memory", box.memory_mb), ("Disk", box.disk_mb), ("Swap", box.swap_mb)]
    return [(name, f"{mb / 1024:.1f} GiB" if mb else "none") for name, mb in left]


def _odd(stranger: Stranger) -> Odd:
    verb = {"container": "docker rm --force", "network": "docker network rm", "volume": "docker volume rm"}
    return Odd(stranger.kind, stranger.name, stranger.why, f"{verb[stranger.kind]} {stranger.name}")
