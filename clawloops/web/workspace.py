"""The page of one workspace: its state and why, wishes, settings and history. For its member, and for admins."""

from __future__ import annotations

from typing import Any, TypeVar

from aiohttp import web

from clawloops.errors import BadInput, NotFound
from clawloops.model.inspection import MINUTES
from clawloops.model.runtime import Policy, Runtime, Size, Want
from clawloops.model.workspace import Happening
from clawloops.web.addresses import safe_path
from clawloops.web.context import (
    ACCOUNTS,
    BOARD,
    BURN,
    DECOYS,
    LOGS,
    MODELS,
    ROLLOUTS,
    RUNTIMES,
    SENT,
    SESSION,
    SITE,
    USER,
    WORKSPACES,
)
from clawloops.web.live import stream
from clawloops.web.notices import notices_for, records_of
from clawloops.web.pages import render, render_part
from clawloops.web.states import POLICIES, policy_name, size_name, size_text, state_of
from clawloops.web.webhook import HOOKS

OFTEN_S = 3.0  # how often what no bus tells of is looked for: the progress of work on the workspace
SHORT = 8

E = TypeVar("E", Policy, Size)


async def show(request: web.Request, *, hook_token: str | None = None) -> web.Response:
    try:
        runtime = await chosen(request)
    except NotFound:
        if "id" in request.match_info:
            raise
        raise web.HTTPSeeOther("/") from None  # it is made by opening it
    values = {**await _state(request, runtime), **_settings(request, runtime), "hook_token": hook_token}
    if not values["mine"]:
        values["shelf"] = await request.app[WORKSPACES].shelf(runtime.id, by=request[USER])
    return render(request, "workspace.html", **values)


async def live(request: web.Request) -> web.StreamResponse:
    runtime = await chosen(request)

    async def part() -> tuple[object, str]:
        values = await _state(request, await chosen(request))
        shown = tuple(values[name] for name in ("runtime", "view", "lines", "held", "decoy", "records", "has_log"))
        told = (*shown, notices_for(request.app, request[USER]))
        return told, render_part(request, "partials/runtime.html", **values)

    return await stream(request, request[SESSION], runtime.id, part, every_s=OFTEN_S)


async def history(request: web.Request) -> web.Response:
    """The older part of the history, a page at a time."""
    runtime = await chosen(request)
    before = request.query.get("before", "")
    lines = await request.app[RUNTIMES].history(
        runtime.id, by=request[USER], before=int(before) if before.isdecimal() and len(before) < 19 else None
    )
    return render(
        request, "history.html", runtime=runtime, lines=lines, owner=_owner(request, runtime), base=base_of(request)
    )


async def start(request: web.Request) -> web.Response:
    """Make it run, without entering it."""
    if "id" in request.match_info:
        await request.app[RUNTIMES].wish(request.match_info["id"], Want.RUNNING, by=request[USER])
    else:
        await request.app[RUNTIMES].open(request[USER])
    raise back(request)


async def stop(request: web.Request) -> web.Response:
    return await _wish(request, Want.STOPPED)


async def delete(request: web.Request) -> web.Response:
    """Remove the container and its network. The workspace's files stay."""
    return await _wish(request, Want.GONE)


async def restart(request: web.Request) -> web.Response:
    await request.app[RUNTIMES].restart((await chosen(request)).id, by=request[USER])
    raise back(request)


async def resume(request: web.Request) -> web.Response:
    """Let its background calls through again."""
    await request.app[BURN].resume(await chosen(request), by=request[USER])
    raise back(request)


async def settle(request: web.Request) -> web.Response:
    """Change what the form holds. A box that is not ticked is not sent: it counts where the policy is."""
    sent = request[SENT]
    runtime = await chosen(request)
    if "pin" in sent and sent["pin"].strip() != runtime.pin:
        await request.app[ROLLOUTS].pin(runtime.id, sent["pin"].strip(), by=request[USER])
    await request.app[RUNTIMES].settings(
        runtime.id,
        by=request[USER],
        policy=_one_of(Policy, sent.get("policy"), "policy"),
        sleeps_despite_polling="sleeps_despite_polling" in sent if "policy" in sent else None,
        size=_one_of(Size, sent.get("size"), "size"),
        model=sent.get("model"),
    )
    raise back(request)


async def webhook(request: web.Request) -> web.Response:
    """Switch the address on or off. Its token is in this answer and nowhere else: only its hash is kept."""
    runtime = await chosen(request)
    if request[SENT].get("on") != "yes":
        await request.app[HOOKS].disable(runtime.id, request[USER])
        raise web.HTTPSeeOther(base_of(request))
    token = await request.app[HOOKS].enable(runtime.id, request[USER])
    return await show(request, hook_token=token)


async def chosen(request: web.Request) -> Runtime:
    """The workspace that the address names; one's own where it names none. Raises NotFound."""
    runtimes, user = request.app[RUNTIMES], request[USER]
    if "id" in request.match_info:
        return await runtimes.get(request.match_info["id"], by=user)
    runtime = await runtimes.of_owner(user.id)
    if runtime is None:
        raise NotFound("You have no workspace yet. Open it from the first page.")
    return runtime


def back(request: web.Request) -> web.HTTPSeeOther:
    """To the page that the form stood on."""
    return web.HTTPSeeOther(safe_path(request[SENT].get("back")) or _home(request))


async def _wish(request: web.Request, want: Want) -> web.Response:
    try:
        runtime = await chosen(request)
    except NotFound:
        raise back(request) from None
    await request.app[RUNTIMES].wish(runtime.id, want, by=request[USER])
    raise back(request)


async def _state(request: web.Request, runtime: Runtime) -> dict[str, Any]:
    """What `partials/runtime.html` shows."""
    view = request.app[BOARD].get(runtime.id)
    lines: list[Happening] = await request.app[RUNTIMES].history(runtime.id, by=request[USER], limit=SHORT)
    return {
        "runtime": runtime,
        "held": request.app[BURN].why(runtime.id),
        "decoy": request.app[DECOYS].alarm_of(runtime.id),
        "view": view,
        "state": state_of(runtime, view),
        "lines": lines,
        "is_all": len(lines) < SHORT,
        "records": await records_of(request.app, runtime.id),
        "mine": runtime.owner == request[USER].id,
        "has_log": request.app[LOGS].is_open(runtime, by=request[USER], session=request[SESSION]),
        "owner": _owner(request, runtime),
        "base": base_of(request),
        "address": request.app[SITE].workspace_host(runtime.slug),
    }


def _settings(request: web.Request, runtime: Runtime) -> dict[str, Any]:
    site = request.app[SITE]
    return {
        "models": request.app[MODELS].names_for(request.app[ACCOUNTS].get(runtime.owner)),
        "policies": POLICIES,
        "policy": policy_name(runtime.policy),
        "sizes": [(each.value, size_name(each), size_text(site.limits_of(each))) for each in Size],
        "minutes": MINUTES,
        "is_below": not request.app[ACCOUNTS].get(runtime.owner).role.outranks(request[USER].role),
        "hook_address": f"{site.workspace_origin(runtime.slug)}/hooks/agent",
        "size": f"{size_name(runtime.size)}: {size_text(site.limits_of(runtime.size))}",
    }


def base_of(request: web.Request) -> str:
    return f"/box/workspaces/{request.match_info['id']}" if "id" in request.match_info else "/workspace"


def _home(request: web.Request) -> str:
    return base_of(request) if "id" in request.match_info else "/"


def _owner(request: web.Request, runtime: Runtime) -> str:
    return request.app[ACCOUNTS].get(runtime.owner).name


def _one_of(kind: type[E], value: str | None, field: str) -> E | None:
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        raise BadInput("Choose one of the list.", field=field) from None
