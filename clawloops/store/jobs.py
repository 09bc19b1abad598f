"""Rows of the work on workspaces, done by each runtime's keeper, oldest first."""

from __future__ import annotations

from clawloops.errors import NotFound
from clawloops.model.workspace import Job, JobState, Task
from clawloops.store.db import Database, Row

_COLUMNS = "id, runtime_id, task, argument, state, note, actor, created_at, ended_at"
_SELECT = f"SELECT {_COLUMNS} FROM jobs"


def _job(row: Row) -> Job:
    return Job(**{**row, "task": Task(row["task"]), "state": JobState(row["state"])})


async def add(db: Database, job: Job) -> None:
    await db.execute(
        f"INSERT INTO jobs ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        job.id,
        job.runtime_id,
        job.task.value,
        job.argument,
        job.state.value,
        job.note,
        job.actor,
        job.created_at,
        job.ended_at,
    )


async def get(db: Database, job_id: str) -> Job | None:
    row = await db.fetchrow(f"{_SELECT} WHERE id = $1", job_id)
    return _job(row) if row else None


async def next_of(db: Database, runtime_id: str) -> Job | None:
    """The one to be done now: one that was begun, else the oldest; an upgrade, which may wait, lets all else by."""
    row = await db.fetchrow(
        f"""{_SELECT} WHERE runtime_id = $1 AND state IN ('pending', 'running')
        ORDER BY state DESC, (task = 'upgrade'), created_at, id LIMIT 1""",
        runtime_id,
    )
    return _job(row) if row else None


async def of(db: Database, runtime_id: str, *, limit: int = 20) -> list[Job]:
    """The latest of a runtime, newest first."""
    rows = await db.fetch(
        f"{_SELECT} WHERE runtime_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2", runtime_id, limit
    )
    return [_job(row) for row in rows]


async def of_task(db: Database, task: Task) -> list[Job]:
    """All of a kind, of every runtime, that were not swept yet; oldest first."""
    rows = await db.fetch(f"{_SELECT} WHERE task = $1 ORDER BY created_at, id", task.value)
    return [_job(row) for row in rows]


async def open_(db: Database) -> list[Job]:
    """All that are not at their end, of every runtime, oldest first."""
    rows = await db.fetch(f"{_SELECT} WHERE state IN ('pending', 'running') ORDER BY created_at, id")
    return [_job(row) for row in rows]


async def note(db: Database, job_id: str, state: JobState, text: str, *, now: int) -> Job:
    """How far it is. DONE and FAILED end it at `now`, Unix ms. Raises NotFound."""
    ended = now if state in (JobState.DONE, JobState.FAILED) else 0
    row = await db.fetchrow(
        f"UPDATE jobs SET state = $1, note = $2, ended_at = $3 WHERE id = $4 RETURNING {_COLUMNS}",
        state.value,
        text,
        ended,
        job_id,
    )
    if row is None:
        raise NotFound("there is no such job")
    return _job(row)


async def cancel(db: Database, job_id: str, *, now: int) -> bool:
    """End one that has not begun. False when it has."""
    changed = await db.execute(
        "UPDATE jobs SET state = 'failed', note = 'cancelled', ended_at = $1 WHERE id = $2 AND state = 'pending'",
        now,
        job_id,
    )
    return changed > 0


async def sweep(db: Database, before: int) -> int:
    """Remove those that ended before this instant, Unix ms. Returns how many."""
    return await db.execute("DELETE FROM jobs WHERE ended_at > 0 AND ended_at < $1", before)
