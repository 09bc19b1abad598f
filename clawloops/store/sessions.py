"""Rows of sessions. A workspace session falls with the dashboard session it came from (a foreign key sees to it)."""

from __future__ import annotations

from clawloops.model.account import Session, SessionKind
from clawloops.store.db import Database, Row


def _session(row: Row) -> Session:
    return Session(**{**row, "kind": SessionKind(row["kind"])})


async def add(db: Database, session: Session) -> None:
    """Raises Conflict when its user, runtime, parent or inspection is no more."""
    await db.execute(
        """INSERT INTO sessions (hash, kind, user_id, runtime_id, parent, created_at, seen_at, expires_at,
        browser, address, proved_at, inspection)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)""",
        session.hash,
        session.kind.value,
        session.user_id,
        session.runtime_id,
        session.parent,
        session.created_at,
        session.seen_at,
        session.expires_at,
        session.browser,
        session.address,
        session.proved_at,
        session.inspection,
    )


async def all_live(db: Database, now: int) -> list[Session]:
    """Those not expired at `now` (Unix ms), nor their parent, of users who are not disabled; parents first."""
    rows = await db.fetch(
        """SELECT s.hash, s.kind, s.user_id, s.runtime_id, s.parent, s.created_at, s.seen_at, s.expires_at,
        s.browser, s.address, s.proved_at, s.inspection
        FROM sessions s
        JOIN users u ON u.id = s.user_id
        LEFT JOIN sessions p ON p.hash = s.parent
        WHERE s.expires_at > $1 AND (s.parent IS NULL OR p.expires_at > $1) AND u.disabled_at IS NULL
        ORDER BY CASE s.kind WHEN 'dashboard' THEN 0 ELSE 1 END, s.created_at""",
        now,
    )
    return [_session(row) for row in rows]


async def touch(db: Database, session_hash: bytes, seen_at: int) -> None:
    """Move `seen_at` forward, never back. A session that has ended meanwhile stays ended."""
    await db.execute("UPDATE sessions SET seen_at = $1 WHERE hash = $2 AND seen_at < $1", seen_at, session_hash)


async def set_proved(db: Database, session_hash: bytes, at: int) -> None:
    """Its owner has proven themselves again."""
    await db.execute("UPDATE sessions SET proved_at = $1 WHERE hash = $2", at, session_hash)


async def delete(db: Database, session_hash: bytes) -> None:
    """End it and the workspace sessions that came from it."""
    await db.execute("DELETE FROM sessions WHERE hash = $1", session_hash)


async def delete_user(db: Database, user_id: str) -> None:
    """End all sessions of one user."""
    await db.execute("DELETE FROM sessions WHERE user_id = $1", user_id)


async def delete_inspection(db: Database, inspection_id: str) -> None:
    """End all sessions that rest on one inspection."""
    await db.execute("DELETE FROM sessions WHERE inspection = $1", inspection_id)


async def delete_expired(db: Database, now: int) -> int:
    """Drop what has expired at `now` (Unix ms); returns how many, without those that only fell with a parent."""
    return await db.execute("DELETE FROM sessions WHERE expires_at <= $1", now)
