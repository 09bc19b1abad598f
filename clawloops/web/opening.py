"""The way into my workspace: how far it is, and then the browser is led in."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clawloops.clock import now_ms
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.web.context import BOARD, CERTIFICATES, RUNTIMES, SESSION, SITE, USER
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.states import stages_of, state_of

OFTEN_S = 2.0


async def open_(request: web.Request) -> web.Response:
    await request.app[RUNTIMES].open(request[USER])
    raise web.HTTPSeeOther("/workspace/opening")


async def show(request: web.Request) -> web.Response:
    runtime = await request.app[RUNTIMES].of_owner(request[USER].id)
    if runtime is None:
        raise web.HTTPSeeOther("/")
    values = await _progress(request, runtime)
    if values["go"] is not None:
        raise web.HTTPSeeOther(values["go"])
    return render(request, "opening.html", **values)


async def live(request: web.Request) -> web.StreamResponse:
    runtime = await request.app[RUNTIMES].of_owner(request[USER].id)
    if runtime is None:
        raise web.HTTPNoContent

    async def part() -> tuple[object, str]:
        now = await request.app[RUNTIMES].of_owner(request[USER].id) or runtime
        values = await _progress(request, now)
        told = (now, values["view"], values["go"], values["waits"])
        return told, render_part(request, "partials/progress.html", **values)

    return await stream(request, request[SESSION], runtime.id, part, every_s=OFTEN_S)


async def _progress(request: web.Request, runtime: Runtime) -> dict[str, Any]:
    """As `progress`; nobody is led to a host for which there is no certificate yet."""
    values, host = progress(request, runtime, onward="/"), f"{runtime.slug}.ws.{request.app[SITE].base}"
    if values["go"] is not None and not await request.app[CERTIFICATES].covers(host):
        values["go"], values["waits"] = None, True
    return values


def progress(request: web.Request, runtime: Runtime, *, onward: str) -> dict[str, Any]:
    """What `partials/progress.html` shows. `onward`: the path on the workspace's host to go to when it is ready."""
    view = request.app[BOARD].get(runtime.id)
    ready = view.phase is Phase.READY and runtime.want is Want.RUNNING
    return {
        "runtime": runtime,
        "view": view,
        "state": state_of(runtime, view),
        "stages": stages_of(runtime, view, now=now_ms()),
        "waits": False,  # for its certificate
        "go": request.app[SITE].workspace_origin(runtime.slug) + onward if ready else None,
    }
