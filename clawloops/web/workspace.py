"""My workspace: wishes about it, and the page that shows how far it is until it can be entered."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clawloops.clock import now_ms
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.web.context import BOARD, RUNTIMES, SESSION, SITE, USER
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.states import stages_of, state_of


async def show(request: web.Request) -> web.Response:
    runtime = await request.app[RUNTIMES].of_owner(request[USER].id)
    if runtime is None:
        raise web.HTTPSeeOther("/")
    if request.app[BOARD].get(runtime.id).phase is Phase.READY and runtime.want is Want.RUNNING:
        raise web.HTTPSeeOther(request.app[SITE].workspace_origin(runtime.slug) + "/")
    return render(request, "workspace.html", **progress(request, runtime, onward="/"))


async def live(request: web.Request) -> web.StreamResponse:
    runtime = await request.app[RUNTIMES].of_owner(request[USER].id)
    if runtime is None:
        raise web.HTTPNoContent

    async def part() -> tuple[object, str]:
        now = await request.app[RUNTIMES].of_owner(request[USER].id) or runtime
        values = progress(request, now, onward="/")
        return (now, values["view"]), render_part(request, "partials/progress.html", **values)

    return await stream(request, request[SESSION], runtime.id, part)


async def open_(request: web.Request) -> web.Response:
    await request.app[RUNTIMES].open(request[USER])
    raise web.HTTPSeeOther("/workspace")


async def start(request: web.Request) -> web.Response:
    await request.app[RUNTIMES].open(request[USER])
    raise web.HTTPSeeOther("/")


async def stop(request: web.Request) -> web.Response:
    return await _wish(request, Want.STOPPED)


async def delete(request: web.Request) -> web.Response:
    """Remove the container and its network. The workspace's files stay."""
    return await _wish(request, Want.GONE)


async def _wish(request: web.Request, want: Want) -> web.Response:
    runtime = await request.app[RUNTIMES].of_owner(request[USER].id)
    if runtime is not None:
        await request.app[RUNTIMES].wish(runtime.id, want, by=request[USER])
    raise web.HTTPSeeOther("/")


def progress(request: web.Request, runtime: Runtime, *, onward: str) -> dict[str, Any]:
    """What `partials/progress.html` shows. `onward`: the path on the workspace's host to go to when it is ready."""
    view = request.app[BOARD].get(runtime.id)
    ready = view.phase is Phase.READY and runtime.want is Want.RUNNING
    return {
        "runtime": runtime,
        "view": view,
        "state": state_of(runtime, view),
        "stages": stages_of(runtime, view, now=now_ms()),
        "go": request.app[SITE].workspace_origin(runtime.slug) + onward if ready else None,
    }
