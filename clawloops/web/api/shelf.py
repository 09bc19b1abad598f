"""The files of one's own workspace: snapshots, trash, and the work that is done on them."""

from __future__ import annotations

from typing import Any

from clawloops.control.workspaces import Shelf
from clawloops.model.workspace import Job, JobState, Task, Volume
from clawloops.web.api.operation import Call, fields_named
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Given, Id, Instant, Line, Number, Shown, at, at_or_none
from clawloops.web.api.workspace import chosen
from clawloops.web.context import WORKSPACES


class Copy(Shown, frozen=True):
    """A copy of all files of a workspace."""

    number: int
    note: str
    image: str
    """The OpenClaw image that its state belongs to."""
    bytes: int
    """0 where nobody measured it."""
    made_at: Instant


class Trashed(Copy, frozen=True):
    """It can be restored until it is removed by itself."""

    days_left: int


class Work(Shown, frozen=True):
    """A piece of work on the workspace, done one after the other."""

    id: str
    task: Task
    state: JobState
    note: str
    asked_at: Instant
    ended_at: Instant | None


class NewSnapshot(Given, frozen=True):
    note: Line = ""


class Recipient(Given, frozen=True):
    login: Line
    """Of the member who is given a copy, without anything that acts as you."""


async def list_snapshots(call: Call, query: Paged) -> Listed[Copy]:
    """Oldest first."""
    shelf = await _shelf(call)
    return page_of(shelf.snapshots, query, key=lambda each: (each.number, ""), show=lambda each: Copy(**_told(each)))


async def list_trash(call: Call, query: Paged) -> Listed[Trashed]:
    shelf = await _shelf(call)
    return page_of(
        shelf.trash,
        query,
        key=lambda pair: (pair[0].number, ""),
        show=lambda pair: Trashed(**_told(pair[0]), days_left=pair[1]),
    )


async def list_work(call: Call, query: Paged) -> Listed[Work]:
    """The latest, newest first."""
    shelf = await _shelf(call)
    return page_of(shelf.jobs, query, key=lambda each: (-each.created_at, each.id), show=work)


async def snapshot(call: Call, body: NewSnapshot) -> Work:
    """The workspace is paused for as long as copying takes."""
    runtime = await chosen(call, "")
    return work(await call.app[WORKSPACES].snapshot(runtime.id, body.note, by=call.user))


async def restore(call: Call, number: Number) -> Work:
    """A snapshot, or one from the trash, is the workspace again. What is live now goes to the trash."""
    runtime = await chosen(call, "")
    return work(await call.app[WORKSPACES].restore(runtime.id, number, by=call.user))


async def put_away(call: Call, number: Number) -> None:
    """Into the trash, which keeps it for seven days."""
    runtime = await chosen(call, "")
    await call.app[WORKSPACES].put_away(runtime.id, number, by=call.user)


async def give(call: Call, number: Number, body: Recipient) -> Work:
    """A copy for another member. Whoever has a workspace finds it among their snapshots."""
    runtime = await chosen(call, "")
    with fields_named(to="login"):
        return work(await call.app[WORKSPACES].clone(runtime.id, number, body.login, by=call.user))


async def reset(call: Call) -> Work:
    """Begin with no files. What is live now goes to the trash, which keeps it for seven days."""
    runtime = await chosen(call, "")
    return work(await call.app[WORKSPACES].reset(runtime.id, by=call.user))


async def cancel(call: Call, id: Id) -> None:
    """As long as it has not begun."""
    await call.app[WORKSPACES].cancel(id, by=call.user)


def work(job: Job) -> Work:
    return Work(
        id=job.id,
        task=job.task,
        state=job.state,
        note=job.note,
        asked_at=at(job.created_at),
        ended_at=at_or_none(job.ended_at),
    )


async def _shelf(call: Call) -> Shelf:
    runtime = await chosen(call, "")
    return await call.app[WORKSPACES].shelf(runtime.id, by=call.user)


def _told(each: Volume) -> dict[str, Any]:
    return {
        "number": each.number,
        "note": each.note,
        "image": each.image,
        "bytes": each.bytes,
        "made_at": at(each.made_at),
    }
