"""A workspace's host while OpenClaw is not there: wake it, show how far it is, let the browser in."""

from __future__ import annotations

from aiohttp import web

from clawloops.errors import Forbidden, NotFound
from clawloops.model.runtime import Phase, Runtime, Sleep, Want
from clawloops.web.addresses import safe_path
from clawloops.web.context import BOARD, RUNTIMES, WAKER
from clawloops.web.live import stream
from clawloops.web.opening import progress
from clawloops.web.pages import render, render_part
from clawloops.web.visit import DOORKEEPER, OPENED, Ask, Away, Visit


async def catch_all(request: web.Request) -> web.Response:
    """Whatever Traefik has no running runtime for. Raises as `Doorkeeper.admit`; when ready, its route comes."""
    ask = Ask.of(request)
    await request.app[DOORKEEPER].admit(ask)
    reply = render(request, "almost.html", status=503) if ask.is_navigation else web.Response(status=503)
    reply.headers["Retry-After"] = reply.headers["Refresh"] = "1"
    return reply


async def show(request: web.Request) -> web.Response:
    """The progress page. A visit is a wish: a stopped runtime is started; a deleted one only from the dashboard."""
    onward = safe_path(request.query.get("to")) or "/"
    ask = Ask.of(request, onward)
    if not ask.is_navigation:
        raise Forbidden("This page is for people.")
    visit = await request.app[DOORKEEPER].identify(ask)
    runtime = await _runtime(request, visit)
    if runtime.want is Want.STOPPED:
        runtime = await request.app[RUNTIMES].wish(runtime.id, Want.RUNNING, by=visit.user)
    runtime = await _wake(request, visit, runtime)
    values = progress(request, runtime, onward=onward)
    if values["go"] is not None:
        raise Away(onward, status=303)
    return render(request, "waking.html", onward=onward, **values)


async def live(request: web.Request) -> web.StreamResponse:
    onward = safe_path(request.query.get("to")) or "/"
    visit = await request.app[DOORKEEPER].identify(Ask.of(request))
    await _runtime(request, visit)

    async def part() -> tuple[object, str]:
        runtime = await _wake(request, visit, await _runtime(request, visit))
        values = progress(request, runtime, onward=onward)
        return (runtime, values["view"]), render_part(request, "partials/progress.html", **values)

    return await stream(request, visit.session, visit.place.id, part)


async def closed(request: web.Request) -> web.Response:
    """Our own paths and OpenClaw's admin calls on a workspace's host, for anything that is not in the URL table."""
    raise NotFound("There is nothing at this address.")


async def _wake(request: web.Request, visit: Visit, runtime: Runtime) -> Runtime:
    """End its sleep: somebody stands at the door. While its workspace is worked on, that comes first."""
    sleeps = request.app[BOARD].get(runtime.id).phase in (Phase.PAUSED, Phase.ASLEEP)
    if runtime.want is not Want.RUNNING or runtime.sleep is Sleep.AWAKE or not sleeps:
        return runtime
    await request.app[WAKER].rouse(runtime.id, visit.told(OPENED))
    return await _runtime(request, visit)


async def _runtime(request: web.Request, visit: Visit) -> Runtime:
    return await request.app[RUNTIMES].get(visit.place.id, by=visit.user)
