"""Rows of invitations that are sent by e-mail: the queue, and what became of each."""

from __future__ import annotations

from clawloops.model.mail import Delivery, DeliveryState
from clawloops.store.db import Database, Row

_COLUMNS = "invitation_id, recipient, state, tries, next_at, said, queued_at, language"


def _delivery(row: Row) -> Delivery:
    return Delivery(**{**row, "state": DeliveryState(row["state"])})


async def put(db: Database, delivery: Delivery) -> None:
    """Begin anew, whatever became of one before. Raises Conflict when the invitation is gone."""
    await db.execute(
        f"""INSERT INTO deliveries ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (invitation_id) DO UPDATE SET recipient = excluded.recipient, state = excluded.state,
        tries = excluded.tries, next_at = excluded.next_at, said = excluded.said, queued_at = excluded.queued_at,
        language = excluded.language""",
        *(delivery.invitation_id, delivery.recipient, delivery.state.value, delivery.tries, delivery.next_at),
        *(delivery.said, delivery.queued_at, delivery.language),
    )


async def note(db: Database, delivery: Delivery) -> None:
    """What came of a try. Nothing happens when it was withdrawn, or begun anew, meanwhile."""
    await db.execute(
        """UPDATE deliveries SET state = $1, tries = $2, next_at = $3, said = $4
        WHERE invitation_id = $5 AND queued_at = $6""",
        *(delivery.state.value, delivery.tries, delivery.next_at, delivery.said),
        *(delivery.invitation_id, delivery.queued_at),
    )


async def of_open(db: Database, now: int) -> list[Delivery]:
    """Those of invitations that can still be used at `now` (Unix ms)."""
    names = ", ".join(f"d.{name}" for name in _COLUMNS.split(", "))
    rows = await db.fetch(
        f"""SELECT {names} FROM deliveries d JOIN invitations i ON i.id = d.invitation_id
        WHERE i.used_at IS NULL AND i.expires_at > $1 ORDER BY d.next_at, d.invitation_id""",
        now,
    )
    return [_delivery(row) for row in rows]


async def hurry(db: Database, now: int) -> None:
    """Whatever waits is tried now: the settings were changed."""
    await db.execute("UPDATE deliveries SET next_at = $1 WHERE state = 'waiting' AND next_at > $1", now)
