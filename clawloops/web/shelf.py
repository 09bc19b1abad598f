"""The files of my workspace: snapshots, trash, one file to take away or bring along, and a copy for somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import BodyPartReader, web

from clawloops.clock import now_ms
from clawloops.errors import BadInput
from clawloops.model.workspace import EXPORT_HOURS, MOST_SNAPSHOTS, TRASH_DAYS, Job, JobState, Task
from clawloops.web.context import BOARD, PARTS, RUNTIMES, SENT, SESSION, USER, WORKSPACES
from clawloops.web.fields import number
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.states import state_of
from clawloops.web.workspace import OFTEN_S, chosen

CHUNK_BYTES = 1 << 18
RECENT_MS = 24 * 3_600_000

NAMES = {
    Task.SNAPSHOT: "Snapshot",
    Task.RESTORE: "Restore",
    Task.RESET: "Empty workspace",
    Task.EXPORT: "Export",
    Task.IMPORT: "Import",
    Task.CLONE: "A copy from another member",
    Task.RESTART: "Restart",
    Task.UPGRADE: "New OpenClaw version",
}


async def show(request: web.Request) -> web.Response:
    runtime = await request.app[RUNTIMES].of_owner(request[USER].id)
    if runtime is None:
        raise web.HTTPSeeOther("/")
    return render(request, "shelf.html", **await _values(request))


async def live(request: web.Request) -> web.StreamResponse:
    runtime = await chosen(request)

    async def part() -> tuple[object, str]:
        text = render_part(request, "partials/shelf.html", **await _values(request))
        return text, text

    return await stream(request, request[SESSION], runtime.id, part, every_s=OFTEN_S)


async def snapshot(request: web.Request) -> web.Response:
    runtime = await chosen(request)
    await request.app[WORKSPACES].snapshot(runtime.id, request[SENT].get("note", ""), by=request[USER])
    raise _back()


async def restore(request: web.Request) -> web.Response:
    runtime = await chosen(request)
    await request.app[WORKSPACES].restore(runtime.id, _number(request), by=request[USER])
    raise _back()


async def put_away(request: web.Request) -> web.Response:
    runtime = await chosen(request)
    await request.app[WORKSPACES].put_away(runtime.id, _number(request), by=request[USER])
    raise _back()


async def give(request: web.Request) -> web.Response:
    runtime = await chosen(request)
    to = request[SENT].get("to", "")
    await request.app[WORKSPACES].clone(runtime.id, _number(request), to, by=request[USER])
    raise _back()


async def reset(request: web.Request) -> web.Response:
    await request.app[WORKSPACES].reset((await chosen(request)).id, by=request[USER])
    raise _back()


async def export(request: web.Request) -> web.Response:
    await request.app[WORKSPACES].export((await chosen(request)).id, by=request[USER])
    raise _back()


async def download(request: web.Request) -> web.StreamResponse:
    """The file of an export, as an attachment that no browser opens by itself."""
    path = await request.app[WORKSPACES].exported(request.match_info["job"], by=request[USER])
    name = f"{(await chosen(request)).slug}.clawloops.tar.gz"
    headers = {"Content-Type": "application/gzip", "Content-Disposition": f'attachment; filename="{name}"'}
    return web.FileResponse(path, headers=headers, chunk_size=CHUNK_BYTES)


async def bring(request: web.Request) -> web.Response:
    """Import a file, which is written down as it comes: it may be larger than any form."""
    runtime = await chosen(request)
    try:
        part = await request[PARTS].next() if PARTS in request else None
    except ValueError as error:
        raise BadInput("The file did not arrive whole. Send it again.", field="file") from error
    if not isinstance(part, BodyPartReader) or part.name != "file" or not part.filename:
        raise BadInput("Choose the file of an export first.", field="file")
    await request.app[WORKSPACES].import_file(runtime.id, _chunks(part), by=request[USER])
    raise _back()


async def cancel(request: web.Request) -> web.Response:
    await request.app[WORKSPACES].cancel(request.match_info["job"], by=request[USER])
    raise _back()


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(CHUNK_BYTES):
        yield chunk


async def _values(request: web.Request) -> dict[str, Any]:
    """What `partials/shelf.html` shows."""
    runtime = await chosen(request)
    shelf = await request.app[WORKSPACES].shelf(runtime.id, by=request[USER])
    view = request.app[BOARD].get(runtime.id)
    return {
        "runtime": runtime,
        "view": view,
        "state": state_of(runtime, view),
        "shelf": shelf,
        "jobs": [(each, NAMES[each.task], _is_here(each)) for each in shelf.jobs if _is_recent(each)],
        "most": MOST_SNAPSHOTS,
        "trash_days": TRASH_DAYS,
        "export_hours": EXPORT_HOURS,
    }


def _is_recent(job: Job) -> bool:
    return not job.ended_at or now_ms() - job.ended_at < RECENT_MS


def _is_here(job: Job) -> bool:
    """Whether it left a file that can be taken away."""
    return job.task is Task.EXPORT and job.state is JobState.DONE


def _number(request: web.Request) -> int:
    return number(request[SENT].get("number", ""), "number", digits=9, refusal="Choose one of the list.")


def _back() -> web.HTTPSeeOther:
    return web.HTTPSeeOther("/workspace/files")
