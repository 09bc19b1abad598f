"""The first steps of a box, each of which can be skipped: its admin, a model that answers, somebody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from clawloops.control.first_run import Standing, Step
from clawloops.control.trials import Trial
from clawloops.errors import NotFound
from clawloops.model.account import Role
from clawloops.model.library import PullState
from clawloops.model.provider import BackendKind, Model
from clawloops.web import models
from clawloops.web.context import (
    ACCOUNTS,
    BACKENDS,
    CERTIFICATES,
    FACTORS,
    FIRST_RUN,
    HOST,
    INVITATIONS,
    LIBRARY,
    MODELS,
    SENT,
    SESSION,
    SITE,
    TRIALS,
    USER,
)
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.states import State, state_of_walls

OFTEN_S = 1.0
TITLES = {
    Step.ADMIN: "You, the admin",
    Step.MODEL: "A first model",
    Step.INVITE: "Invite somebody",
}
_OF_FACTORS = "A password alone opens this box: its keys, its members, its walls. A second factor guards them."


async def show(request: web.Request, *, trial: Trial | None = None, link: str | None = None) -> web.Response:
    """`trial`, `link`: what has just come of one of its forms; it is shown this once."""
    app, user = request.app, request[USER]
    standing, members = await app[FIRST_RUN].standing(), app[ACCOUNTS].members()
    invitations, shown = await app[INVITATIONS].open(), await _models(request)
    others = [each.name for each in members if each.id != user.id]
    return render(
        request,
        "first_run.html",
        titles=TITLES,
        said={
            Step.ADMIN: _OF_FACTORS,
            Step.MODEL: _of_models(shown["names"], standing),
            Step.INVITE: _of_people(others, is_invited=bool(invitations)),
        },
        standing=standing,
        opened=_asked_for(request) or standing.next,
        has_acted=trial is not None or link is not None,
        owner=app[ACCOUNTS].owner or user,
        checks=await _checks(request),
        factors=await app[FACTORS].of(user.id),
        trial=trial,
        link=link,
        invitations=invitations,
        providers=models.PROVIDERS,
        **shown,
    )


async def live(request: web.Request) -> web.StreamResponse:
    """How far the pull of a first model is; the page is loaded anew when none is under way any more."""

    async def part() -> tuple[object, str]:
        text = render_part(request, "partials/arriving.html", **await _models(request))
        return text, text

    return await stream(request, request[SESSION], "", part, every_s=OFTEN_S)


async def skip(request: web.Request) -> web.Response:
    step = _asked_for(request)
    if step is None:
        raise NotFound("There is no such step.")
    await request.app[FIRST_RUN].skip(step, by=request[USER])
    raise await _onward(request)


async def dismiss(request: web.Request) -> web.Response:
    await request.app[FIRST_RUN].dismiss(by=request[USER])
    raise web.HTTPSeeOther("/")


async def connect(request: web.Request) -> web.Response:
    await models.add(request)
    raise _back(Step.MODEL)


async def pull(request: web.Request) -> web.Response:
    sent = request[SENT]
    await request.app[LIBRARY].pull(sent.get("backend", ""), sent.get("model", ""), is_offered=True, by=request[USER])
    raise _back(Step.MODEL)


async def try_(request: web.Request) -> web.Response:
    """Ask the model for one short answer, which is shown in this page and kept nowhere."""
    trial = await request.app[TRIALS].ask(request[SENT].get("model", ""), by=request[USER])
    return await show(request, trial=trial)


async def invite(request: web.Request) -> web.Response:
    """The link is in this answer and nowhere else: only its hash is kept."""
    link = await request.app[INVITATIONS].invite(role=Role.MEMBER, note=request[SENT].get("note", ""), by=request[USER])
    return await show(request, link=link)


async def first_steps(app: web.Application) -> Mapping[str, Any] | None:
    """What the first page leads to; None once it is over."""
    standing = await app[FIRST_RUN].standing()
    return None if standing.is_over else {"standing": standing, "titles": TITLES}


def _asked_for(request: web.Request) -> Step | None:
    """The step in the address, /first-run/STEP and below. Raises NotFound for what is none."""
    name = request.path.removeprefix("/first-run").strip("/").split("/")[0]
    if not name:
        return None
    if name not in tuple(Step):
        raise NotFound("There is no such step.")
    return Step(name)


def _back(step: Step) -> web.HTTPSeeOther:
    return web.HTTPSeeOther(f"/first-run/{step}#{step}")


async def _onward(request: web.Request) -> web.HTTPSeeOther:
    standing: Standing = await request.app[FIRST_RUN].standing()
    return web.HTTPSeeOther(f"/first-run#{standing.next or 'workspace'}")


async def _models(request: web.Request) -> dict[str, Any]:
    """What the second step shows: names that one may use, else an Ollama that is to be filled, and its pulls."""
    app, user = request.app, request[USER]
    names = app[MODELS].names_for(user)
    shelves = await app[BACKENDS].shelves()
    ollama = next((each.backend for each in shelves if each.backend.kind is BackendKind.OLLAMA), None)
    pulls = await app[LIBRARY].pulls_of(ollama.id, by=user) if ollama is not None and not names else ()
    return {
        "names": names,
        "shelves": shelves,
        "ollama": ollama,
        "pulls": pulls[:3],
        "is_arriving": any(each.pull.state is PullState.RUNNING for each in pulls),
    }


def _of_models(names: Sequence[Model], standing: Standing) -> str:
    if not names:
        return "Workspaces cannot answer without one. It runs on this box, on a server of yours, or with a provider."
    if Step.MODEL in standing.done:
        return f"A model has answered. New chats begin with {names[0].name}."
    return f"{names[0].name} is connected. Ask it something, the way a workspace will."


def _of_people(others: Sequence[str], *, is_invited: bool) -> str:
    match len(others):
        case 0 if is_invited:
            return "A link is on its way to somebody."
        case 0:
            return "A link makes one account. Whoever opens it chooses how they sign in, and gets a workspace."
        case 1:
            return f"{others[0]} is here."
        case count:
            return f"{count} others are here."


async def _checks(request: web.Request) -> list[tuple[str, State]]:
    """What can be told of the box before anybody works with it."""
    app = request.app
    return [("Address", await _address(app)), ("Walls between workspaces", state_of_walls(app[HOST].walls))]


async def _address(app: web.Application) -> State:
    site = app[SITE]
    if not site.secure:
        text = f"{site.origin} leads here on this machine alone. For others, run ./install.sh --domain NAME."
        return State("This machine only", "off", text)
    standing = await app[CERTIFICATES].standing()
    if not standing.is_good:
        return State("Not trusted", "bad", f"{site.origin}: {standing.problem or standing.text}. Look at Box.")
    text = f"{site.origin}, with a certificate: {standing.text}."
    if site.ca_file:
        text = f"{text} Members first tell their system to trust it: the sign-in page says how."
    return State("Served", "ok", text)
