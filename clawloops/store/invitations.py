"""Rows of invitations. Each is claimed once, by one UPDATE, however many try at the same moment.

The installer's set-up link is the one that makes an owner; nobody is invited as one.
"""

from __future__ import annotations

from clawloops.errors import Gone
from clawloops.model.account import Invitation, Role
from clawloops.store.db import Database, Row

_COLUMNS = "id, token_hash, role, note, invited_by, created_at, expires_at, used_at, used_by, group_id"


def _invitation(row: Row) -> Invitation:
    return Invitation(**{**row, "role": Role(row["role"])})


async def add(db: Database, invitation: Invitation) -> None:
    await db.execute(
        f"INSERT INTO invitations ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        invitation.id,
        invitation.token_hash,
        invitation.role.value,
        invitation.note,
        invitation.invited_by,
        invitation.created_at,
        invitation.expires_at,
        invitation.used_at,
        invitation.used_by,
        invitation.group_id,
    )


async def by_token(db: Database, token_hash: bytes) -> Invitation | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM invitations WHERE token_hash = $1", token_hash)
    return _invitation(row) if row else None


async def all(db: Database) -> list[Invitation]:
    """Newest first."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM invitations ORDER BY created_at DESC, id")
    return [_invitation(row) for row in rows]


async def page(db: Database, now: int, before: tuple[int, str], limit: int) -> list[Invitation]:
    """Members' that can still be used at `now`, newest first, from behind an instant of making and an id."""
    rows = await db.fetch(
        f"""SELECT {_COLUMNS} FROM invitations
        WHERE role <> 'owner' AND used_at IS NULL AND expires_at > $1 AND (created_at, id) < ($2, $3)
        ORDER BY created_at DESC, id DESC LIMIT $4""",
        *(now, *before, limit),
    )
    return [_invitation(row) for row in rows]


async def count_open(db: Database, now: int) -> int:
    """Members' that can still be used at `now`."""
    rows = await db.fetch(
        "SELECT count(*) AS n FROM invitations WHERE role <> 'owner' AND used_at IS NULL AND expires_at > $1",
        now,
    )
    return int(rows[0]["n"])


async def claim(db: Database, invitation_id: str, now: int) -> Invitation:
    """Use it up at `now` (Unix ms). Raises Gone when it was used, has expired or was withdrawn."""
    row = await db.fetchrow(
        f"""UPDATE invitations SET used_at = $1
        WHERE id = $2 AND used_at IS NULL AND expires_at > $1 RETURNING {_COLUMNS}""",
        now,
        invitation_id,
    )
    if row is None:
        raise Gone("this link was used already or has expired; ask an administrator for a new one")
    return _invitation(row)


async def set_used_by(db: Database, invitation_id: str, user_id: str) -> None:
    """Note who came of it."""
    await db.execute("UPDATE invitations SET used_by = $1 WHERE id = $2", user_id, invitation_id)


async def delete(db: Database, invitation_id: str) -> None:
    await db.execute("DELETE FROM invitations WHERE id = $1", invitation_id)


async def delete_unused_setup(db: Database) -> None:
    """Withdraw the installer's set-up links that nobody used, so that only the newest one works."""
    await db.execute("DELETE FROM invitations WHERE role = 'owner' AND used_at IS NULL")
