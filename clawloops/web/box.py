"""The box as its admins see it: its walls, who waits, every workspace, and what does not belong to us."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from clawloops import __version__
from clawloops.control.rollouts import Progress
from clawloops.errors import BadInput
from clawloops.model.certificate import Tls
from clawloops.model.decoy import Consequence
from clawloops.model.rollout import RolloutState
from clawloops.model.runtime import Phase, Runtime, Sandbox, View
from clawloops.web import backups, gauges
from clawloops.web.context import (
    ACCOUNTS,
    BACKENDS,
    BOARD,
    BURN,
    CERTIFICATES,
    DECOYS,
    HOST,
    ROLLOUTS,
    RUNTIMES,
    SENT,
    SESSION,
    SITE,
    USER,
    Stranger,
)
from clawloops.web.fields import number
from clawloops.web.leaves import leaf_of
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.states import State, policy_name, size_name, state_of, state_of_walls

OFTEN_S = 2.0

_TROUBLE = "In trouble"
_COUNTED = {
    Phase.PAUSED: "Paused",
    Phase.ASLEEP: "Asleep",
    Phase.STOPPED: "Stopped",
    Phase.ABSENT: "Stopped",
    Phase.STOPPING: "Stopped",
    Phase.QUEUED: "Waiting",
    Phase.WORKING: "Working",
    Phase.DEGRADED: _TROUBLE,
    Phase.UNKNOWN: _TROUBLE,
}
_ROLLING = {
    RolloutState.CANARY: ("Trying it on one", "busy"),
    RolloutState.REST: ("Under way", "busy"),
    RolloutState.DONE: ("Some stay behind", "off"),
    RolloutState.HALTED: ("Halted", "bad"),
}
_WAYS = {
    Tls.OWN: "An authority of this box, renewed by itself",
    Tls.ACME_HTTP: "ACME, one for each host, renewed by itself",
    Tls.ACME_DNS: "ACME, one for all hosts, renewed by itself",
    Tls.FILES: "Given files; a renewed one is noticed by itself",
}
CONSEQUENCES = (
    (Consequence.STOP, "Tell admins, and stop the workspace until one has looked at it"),
    (Consequence.ALARM, "Tell admins"),
)
_SANDBOXES = {
    Sandbox.RUNC: "Workspaces share this host's kernel, behind the usual walls.",
    Sandbox.RUNSC: "Workspaces start in gVisor (runsc): a kernel of its own stands between an agent and this host's. "
    "One that has run since before this was chosen goes on as it is until it is idle.",
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
    held: str  # why its background calls are held, or ""


@dataclass(frozen=True, slots=True)
class Odd:
    """A stranger in Docker, and the command that a person may use about it."""

    kind: str
    name: str
    why: str
    command: str


@dataclass(frozen=True, slots=True)
class Upgrade:
    """How far everybody is on the way to the box's image of OpenClaw."""

    image: str
    word: str
    tone: str
    note: str
    on: int
    of: int
    behind: list[tuple[str, str, str]]  # whose, the image it is on, what came of moving it
    may_try: bool


async def show(request: web.Request) -> web.Response:
    runtimes = await request.app[RUNTIMES].all(by=request[USER])
    values = await _values(request, runtimes)
    offered = {values["canary"], *(each.id for each in values["leaf"].shown)}
    return render(
        request,
        "box.html",
        canaries={each: owner for each, owner in values["owners"].items() if each in offered},
        version=__version__,
        python=platform.python_version(),
        kernel=platform.release(),
        **(gauges.values(request, runtimes) | values | await backups.values(request)),
    )


async def choose_canary(request: web.Request) -> web.Response:
    """Whose workspace is tried first on the next image; none: it is chosen by itself."""
    await request.app[ROLLOUTS].choose_canary(request[SENT].get("canary", ""), by=request[USER])
    raise web.HTTPSeeOther("/box")


async def try_again(request: web.Request) -> web.Response:
    await request.app[ROLLOUTS].try_again(by=request[USER])
    raise web.HTTPSeeOther("/box")


async def acknowledge(request: web.Request) -> web.Response:
    """An admin takes note of what a decoy key was used for."""
    seen = number(request[SENT].get("seen", ""), "seen", digits=15, refusal="Reload the page, and try again.")
    await request.app[DECOYS].acknowledge(request.match_info["id"], seen=seen, by=request[USER])
    raise web.HTTPSeeOther("/box")


async def set_consequence(request: web.Request) -> web.Response:
    """What comes of it when a decoy key is used."""
    try:
        wanted = Consequence(request[SENT].get("consequence", ""))
    except ValueError:
        raise BadInput("Choose one of the list.", field="consequence") from None
    await request.app[DECOYS].set_consequence(wanted, by=request[USER])
    raise web.HTTPSeeOther("/box")


async def live(request: web.Request) -> web.StreamResponse:
    async def part() -> tuple[object, str]:
        runtimes = await request.app[RUNTIMES].all(by=request[USER])
        text = render_part(request, "partials/box.html", **await _values(request, runtimes))
        return text, text

    return await stream(request, request[SESSION], "", part, every_s=OFTEN_S)


async def _values(request: web.Request, runtimes: Sequence[Runtime]) -> dict[str, Any]:
    app = request.app
    phases = {each.id: app[BOARD].get(each.id).phase for each in runtimes}
    owners = {each.id: app[ACCOUNTS].get(each.owner).name for each in runtimes}
    counts = Counter(_COUNTED.get(phase, "Awake") for phase in phases.values())
    queue = app[HOST].gate.queue()
    waiting = [each for each in runtimes if each.id in queue]
    progress = await app[ROLLOUTS].progress(by=request[USER], among=runtimes)
    first = sorted(runtimes, key=lambda each: _COUNTED.get(phases[each.id]) != _TROUBLE)
    leaf = leaf_of(request, first, lambda each: owners[each.id])
    return {
        "certificate": await app[CERTIFICATES].standing(),
        "certificate_ways": _WAYS,
        "upgrade": _upgrade(progress, owners),
        "canary": progress.canary,
        "counts": [(name, counts[name]) for name in dict.fromkeys((*_ALWAYS, *counts))],
        "owners": owners,
        "leaf": leaf,
        "lines": [_line(app, each) for each in leaf.shown],
        "queue": [_line(app, each) for each in sorted(waiting, key=lambda each: queue.index(each.id))],
        "served": app[BACKENDS].lines(by=request[USER]),
        "people": {each.id: each.name for each in app[ACCOUNTS].members()},
        "walls": state_of_walls(app[HOST].walls),
        "sandbox": _SANDBOXES[app[SITE].sandbox],
        "tested_at": app[HOST].walls.last.at,
        "decoys": app[DECOYS].alarms(),
        "consequence": app[DECOYS].consequence,
        "consequences": CONSEQUENCES,
        "strangers": [_odd(each) for each in app[HOST].strangers],
    }


def _upgrade(progress: Progress, owners: Mapping[str, str]) -> Upgrade:
    moved = [each for each in progress.members if each.runtime.volume_at]
    behind = [each for each in moved if each.behind]
    rollout = progress.rollout
    state = rollout.state if rollout else RolloutState.DONE
    if state is not RolloutState.HALTED and not behind:
        word, tone = "Done", "ok"
    else:
        word, tone = _ROLLING[state]
    return Upgrade(
        image=progress.image,
        word=word,
        tone=tone,
        note=rollout.note if rollout else "",
        on=len(moved) - len(behind),
        of=len(moved),
        behind=[
            (owners.get(each.runtime.id, each.runtime.slug), each.runtime.image, each.job.note if each.job else "")
            for each in behind
        ],
        may_try=progress.halted or (rollout is not None and rollout.ended_at > 0 and bool(behind)),
    )


def _line(app: web.Application, runtime: Runtime) -> Line:
    owner, view = app[ACCOUNTS].get(runtime.owner), app[BOARD].get(runtime.id)
    return Line(
        runtime=runtime,
        owner=owner.name,
        is_disabled=not owner.may_work,
        view=view,
        state=state_of(runtime, view),
        policy=policy_name(runtime.policy),
        size=size_name(runtime.size),
        image=runtime.pin or runtime.image,
        held=app[BURN].why(runtime.id),
    )


def _odd(stranger: Stranger) -> Odd:
    verb = {"container": "docker rm --force", "network": "docker network rm", "volume": "docker volume rm"}
    return Odd(stranger.kind, stranger.name, stranger.why, f"{verb[stranger.kind]} {stranger.name}")
