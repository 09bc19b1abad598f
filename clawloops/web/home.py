"""The first page: my workspace, my models, my usage, and for admins the first steps until they are over."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clawloops.model.runtime import Runtime
from clawloops.web.context import (
    ACCOUNTS,
    BACKENDS,
    BOARD,
    BUDGETS,
    BURN,
    DECOYS,
    EGRESS,
    GAUGES,
    LEDGER,
    MODELS,
    RUNTIMES,
    SESSION,
    SITE,
    USER,
)
from clawloops.web.figures import size
from clawloops.web.first_run import first_steps
from clawloops.web.live import stream
from clawloops.web.notices import notices_for
from clawloops.web.pages import render, render_part
from clawloops.web.states import state_of

OFTEN_S = 3.0  # a place in a queue changes without being told


async def show(request: web.Request) -> web.Response:
    app, user = request.app, request[USER]
    if not user.role.works:
        raise web.HTTPSeeOther("/box")
    runtime = await app[RUNTIMES].of_owner(user.id)
    return render(
        request,
        "home.html",
        **_card(request, runtime),
        models=app[MODELS].names_for(user),
        has_names=bool(app[MODELS].names()),
        usage=await app[LEDGER].total_of(user.id),
        levels=app[BUDGETS].levels_of(user),
        first_run=await first_steps(app) if user.role.administers else None,
        owner=app[ACCOUNTS].owner,
    )


async def live(request: web.Request) -> web.StreamResponse:
    """The workspace card, again at each change."""
    runtime = await request.app[RUNTIMES].of_owner(request[USER].id)
    if runtime is None:
        raise web.HTTPNoContent  # tells EventSource to stay away: there is nothing to follow yet

    async def part() -> tuple[object, str]:
        now = await request.app[RUNTIMES].of_owner(request[USER].id)
        values = _card(request, now)
        waiting = [(each.place, round(each.expected_s)) for each in values["waiting"]]
        notices = notices_for(request.app, request[USER])
        told = tuple(values[name] for name in ("view", "held", "decoy", "asked", "uses"))
        shown = (now, *told, waiting, notices)
        return shown, render_part(request, "partials/workspace_card.html", **values)

    return await stream(request, request[SESSION], runtime.id, part, every_s=OFTEN_S)


def _card(request: web.Request, runtime: Runtime | None) -> dict[str, Any]:
    view = request.app[BOARD].get(runtime.id if runtime else "")
    return {
        "runtime": runtime,
        "waiting": request.app[BACKENDS].waiting_of(request[USER].id),
        "held": request.app[BURN].why(runtime.id) if runtime else "",
        "decoy": request.app[DECOYS].alarm_of(runtime.id) if runtime else None,
        "asked": len(request.app[EGRESS].questions(request[USER].id)),
        "view": view,
        "uses": _uses(request, runtime) if runtime else "",
        "state": state_of(runtime, view),
        "address": request.app[SITE].workspace_host(runtime.slug) if runtime else None,
    }


def _uses(request: web.Request, runtime: Runtime) -> str:
    """What its container takes now, in words; "" while that is not known, as of one that does not run."""
    gauges = request.app[GAUGES]
    gauges.watch(runtime.id)
    share = next((each for each in gauges.shares if each.usage.runtime_id == runtime.id), None)
    if share is None:
        return ""
    most = request.app[SITE].limits_of(runtime.size)
    memory = f"{size(share.usage.memory)} of {size(most.memory_mb << 20)} of memory"
    return memory if share.cores is None else f"{memory}, {share.cores:.1f} of {most.cpus:g} cores"
