"""Sessions: opaque 256-bit cookies, stored hashed, answered from memory, ended at once when revoked."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace

from clawloops.bus import Bus
from clawloops.clock import now_ms
from clawloops.model.account import Session, SessionKind
from clawloops.model.inspection import Inspection
from clawloops.store import sessions
from clawloops.store.db import Database

HOUR_MS = 3_600_000
ABSOLUTE_MS = {SessionKind.DASHBOARD: 12 * HOUR_MS, SessionKind.WORKSPACE: 8 * HOUR_MS}
IDLE_MS = {SessionKind.DASHBOARD: HOUR_MS, SessionKind.WORKSPACE: 8 * HOUR_MS}
PROOF_MS = 10 * 60_000
"""For so long after a proof of who they are, members are not asked for another one."""


def digest(token: str) -> bytes:
    """What is stored of a 256-bit random token: unguessable already, so one SHA-256 is enough."""
    return hashlib.sha256(token.encode()).digest()


class Sessions:
    """Every live session is in memory (a small team has dozens); the store keeps them over a restart."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._live: dict[bytes, Session] = {}
        self._seen: dict[bytes, int] = {}
        self.on_revoked: Bus[Session] = Bus()  # topic: hex of the session's hash

    async def load(self) -> None:
        now = now_ms()
        await sessions.delete_expired(self._db, now)
        self._live = {each.hash: each for each in await sessions.all_live(self._db, now)}
        self._seen = {each.hash: each.seen_at for each in self._live.values()}

    async def issue(
        self,
        user_id: str,
        kind: SessionKind,
        *,
        runtime_id: str | None = None,
        parent: Session | None = None,
        inspection: Inspection | None = None,
        browser: str = "",
        address: str = "",
        proved_at: int | None = None,
    ) -> tuple[str, Session]:
        """A new session and its token. It never outlives the dashboard session that it came from, nor an inspection.

        `proved_at`: when its owner has proven themselves (Unix ms), if that was not just now.
        """
        token, now = secrets.token_urlsafe(32), now_ms()
        ends = [now + ABSOLUTE_MS[kind]]
        ends += [parent.expires_at] if parent else []
        ends += [inspection.until_at] if inspection else []
        session = Session(
            hash=digest(token),
            kind=kind,
            user_id=user_id,
            runtime_id=runtime_id,
            parent=parent.hash if parent else None,
            created_at=now,
            seen_at=now,
            expires_at=min(ends),
            browser=browser,
            address=address,
            proved_at=0 if parent else now if proved_at is None else min(proved_at, now),
            inspection=inspection.id if inspection else None,
        )
        await sessions.add(self._db, session)
        self._live[session.hash] = session
        self._seen[session.hash] = now
        return token, session

    def find(self, token: str, kind: SessionKind) -> Session | None:
        """The live session behind a cookie value, and note that it was used. Memory only."""
        session = self._live.get(digest(token))
        return session if session is not None and session.kind is kind and self.use(session) else None

    def use(self, session: Session) -> bool:
        """Whether a session found earlier still holds, and note that it was used. Memory only."""
        now = now_ms()
        if self._live.get(session.hash) is not session or not self._is_fresh(session, now):
            return False
        self._seen[session.hash] = now
        return True

    def is_live(self, session: Session) -> bool:
        """Whether a session found earlier still holds: not revoked, not past its end, not idle for too long."""
        return session.hash in self._live and self._is_fresh(session, now_ms())

    def knows(self, session_hash: bytes) -> bool:
        """Whether it was neither revoked nor forgotten. Memory only."""
        return session_hash in self._live

    async def prove(self, session: Session) -> None:
        """Note that its owner has just given a password or a second factor."""
        now = now_ms()
        await sessions.set_proved(self._db, session.hash, now)
        if (live := self._live.get(session.hash)) is not None:
            self._live[session.hash] = replace(live, proved_at=now)

    def is_proved(self, session: Session) -> bool:
        """Whether the last proof is recent enough for something dangerous. A clock set back makes none recent."""
        live = self._live.get(session.hash)
        return live is not None and 0 <= now_ms() - live.proved_at < PROOF_MS

    def of(self, user_id: str) -> list[Session]:
        """A member's live dashboard sessions, with their last use as it is known now; latest first."""
        live = [
            replace(each, seen_at=self._seen[each.hash])
            for each in self._live.values()
            if each.user_id == user_id and each.kind is SessionKind.DASHBOARD and self._is_fresh(each, now_ms())
        ]
        return sorted(live, key=lambda each: each.seen_at, reverse=True)

    async def revoke(self, session: Session) -> None:
        """End a session and the workspace sessions that came from it, now and in the store."""
        await sessions.delete(self._db, session.hash)
        self._drop([each for each in self._live.values() if session.hash in (each.hash, each.parent)])

    async def revoke_user(self, user_id: str) -> None:
        await sessions.delete_user(self._db, user_id)
        self._drop([each for each in self._live.values() if each.user_id == user_id])

    async def revoke_inspection(self, inspection_id: str) -> None:
        """End the workspace sessions that rest on it, now and in the store."""
        await sessions.delete_inspection(self._db, inspection_id)
        self._drop([each for each in self._live.values() if each.inspection == inspection_id])

    def last_uses_of(self, inspection_id: str) -> list[int]:
        """The last use (Unix ms) of each live session that rests on it."""
        return [self._seen[each.hash] for each in self._live.values() if each.inspection == inspection_id]

    async def sweep(self) -> None:
        """Once a minute: write down when sessions were last used, and forget those past their end."""
        now = now_ms()
        for key, session in list(self._live.items()):
            seen = self._seen[key]
            if now >= session.expires_at:
                self._drop([session])
            elif seen > session.seen_at:
                await sessions.touch(self._db, key, seen)
        await sessions.delete_expired(self._db, now)

    def _is_fresh(self, session: Session, now: int) -> bool:
        return now < session.expires_at and now < self._seen[session.hash] + IDLE_MS[session.kind]

    def _drop(self, ended: list[Session]) -> None:
        for session in ended:
            self._live.pop(session.hash, None)
            self._seen.pop(session.hash, None)
            self.on_revoked.publish(session.hash.hex(), session)
