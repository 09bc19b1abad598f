"""The first page: my workspace, my models, my usage, and for an admin the steps that are still to be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from clawloops.model.account import User
from clawloops.model.runtime import Runtime
from clawloops.web.context import (
    ACCOUNTS,
    BACKENDS,
    BOARD,
    BUDGETS,
    BURN,
    INVITATIONS,
    LEDGER,
    MODELS,
    RUNTIMES,
    SESSION,
    SITE,
    USER,
)
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.states import state_of

OFTEN_S = 3.0  # a place in a queue changes without being told


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    text: str
    href: str
    action: str
    done: bool


async def show(request: web.Request) -> web.Response:
    app, user = request.app, request[USER]
    runtime = await app[RUNTIMES].of_owner(user.id)
    return render(
        request,
        "home.html",
        **_card(request, runtime),
        models=app[MODELS].names_for(user),
        usage=await app[LEDGER].total_of(user.id),
        levels=app[BUDGETS].levels_of(user),
        steps=await _steps(app, user, runtime),
        owner=next((each for each in app[ACCOUNTS].members() if each.role == "owner"), None),
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
        return (now, values["view"], waiting, values["held"]), render_part(
            request, "partials/workspace_card.html", **values
        )

    return await stream(request, request[SESSION], runtime.id, part, every_s=OFTEN_S)


def _card(request: web.Request, runtime: Runtime | None) -> dict[str, Any]:
    view = request.app[BOARD].get(runtime.id if runtime else "")
    return {
        "runtime": runtime,
        "waiting": request.app[BACKENDS].waiting_of(request[USER].id),
        "held": request.app[BURN].why(runtime.id) if runtime else "",
        "view": view,
        "state": state_of(runtime, view),
        "address": request.app[SITE].workspace_host(runtime.slug) if runtime else None,
    }


async def _steps(app: web.Application, user: User, runtime: Runtime | None) -> list[Step]:
    """What an admin of a new box does first; empty when all is done, and for members."""
    if not user.role.administers:
        return []
    members = app[ACCOUNTS].members()
    invited = len(members) > 1 or bool(await app[INVITATIONS].open())
    steps = [
        Step(
            "Connect a model",
            "Ollama on this box, any OpenAI-compatible server, or a provider key. It is checked with a real call.",
            "/models",
            "Connect a model",
            bool(app[MODELS].names()),
        ),
        Step(
            "Invite somebody",
            "A link that is good for seven days. Whoever opens it chooses a password and gets a workspace.",
            "/members",
            "Invite a member",
            invited,
        ),
        Step(
            "Open your workspace",
            "Your own OpenClaw, in a container that only you can enter.",
            "#workspace",
            "Go to your workspace",
            runtime is not None,
        ),
    ]
    return [] if all(step.done for step in steps) else steps
