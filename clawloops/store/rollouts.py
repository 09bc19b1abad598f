"""Rows of rollouts, one for each image that the members were ever moved to; the latest counts."""

from __future__ import annotations

from clawloops.model.rollout import Rollout, RolloutState
from clawloops.store import meta
from clawloops.store.db import Database, Row

FORGIVEN = "tried again: "
"""Begins the note of a failed upgrade that no longer counts."""

_COLUMNS = "image, canary, state, note, started_at, ended_at"
_CHOSEN = "rollout.canary"


def _rollout(row: Row) -> Rollout:
    return Rollout(**{**row, "state": RolloutState(row["state"])})


async def of(db: Database, image: str) -> Rollout | None:
    """That of an image, while none to another image was begun after it."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM rollouts ORDER BY started_at DESC, image LIMIT 1")
    return _rollout(row) if row and row["image"] == image else None


async def begin(db: Database, rollout: Rollout) -> None:
    """Write a new one down, or an old one anew: what failed before does not count in it."""
    async with db.transaction():
        row = await db.fetchrow("SELECT MAX(started_at) AS latest FROM rollouts WHERE image <> $1", rollout.image)
        latest = int(row["latest"] or 0) if row else 0
        await db.execute("DELETE FROM rollouts WHERE image = $1", rollout.image)
        await db.execute(
            f"INSERT INTO rollouts ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)",
            rollout.image,
            rollout.canary,
            rollout.state.value,
            rollout.note,
            max(rollout.started_at, latest + 1),  # the latest, even when the clock was set back
            rollout.ended_at,
        )
        await forgive(db, rollout.image)


async def forgive(db: Database, image: str, runtime_id: str = "") -> None:
    """Let upgrades to an image that failed count no longer: those of one runtime, or of all."""
    await db.execute(
        """UPDATE jobs SET note = $1 || note
        WHERE task = 'upgrade' AND state = 'failed' AND argument = $2 AND runtime_id LIKE $3 AND note NOT LIKE $4""",
        FORGIVEN,
        image,
        runtime_id or "%",
        f"{FORGIVEN}%",
    )


async def put(db: Database, rollout: Rollout) -> None:
    """How far one that was begun is now."""
    await db.execute(
        "UPDATE rollouts SET canary = $1, state = $2, note = $3, ended_at = $4 WHERE image = $5",
        rollout.canary,
        rollout.state.value,
        rollout.note,
        rollout.ended_at,
        rollout.image,
    )


async def chosen_canary(db: Database) -> str:
    """The runtime that an admin has chosen to be tried first; "" when none was."""
    return await meta.get(db, _CHOSEN) or ""


async def choose_canary(db: Database, runtime_id: str) -> None:
    """From the next upgrade on; "" leaves the choice to the loop."""
    await meta.put(db, _CHOSEN, runtime_id)
