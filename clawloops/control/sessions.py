"""Sessions: opaque 256-bit cookies, stored hashed, answered from memory, ended at once when revoked."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace

from clawloops.bus import Bus
from clawloops.clock import now_ms
from clawloops.model.account import Session, SessionKind
from clawloops.store import sessions
from clawloops.store.db import Database

HOUR_MS = 3_600_000
ABSOLUTE_MS = {SessionKind.DASHBOARD: 12 * HOUR_MS, SessionKind.WORKSPACE: 8 * HOUR_MS}
IDLE_MS = {SessionKind.DASHBOARD: HOUR_MS, SessionKind.WORKSPACE: 8 * HOUR_MS}


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
        browser: str = "",
        address: str = "",
    ) -> tuple[str, Session]:
        """A new session and its token. A workspace session never outlives the dashboard session it came from."""
        token, now = secrets.token_urlsafe(32), now_ms()
        ends = now + ABSOLUTE_MS[kind]
        session = Session(
            hash=digest(token),
            kind=kind,
            user_id=user_id,
            runtime_id=runtime_id,
            parent=parent.hash if parent else None,
            created_at=now,
            seen_at=now,
            expires_at=min(ends, parent.expires_at) if parent else ends,
            browser=browser,
            address=address,
        )
        await sessions.add(self._db, session)
        self._live[session.hash] = session
        self._seen[session.hash] = now
        return token, session

    def find(self, token: str, kind: SessionKind) -> Session | None:
        """The live session behind a cookie value, and note that it was used. Memory only."""
        session = self._live.get(digest(token))
        if session is None or session.kind is not kind:
            return None
        if not self._is_fresh(session):
            return None
        self._seen[session.hash] = now_ms()
        return session

    def is_live(self, session: Session) -> bool:
        """Whether a session found earlier still holds: not revoked, not past its end, not idle for too long."""
        return session.hash in self._live and self._is_fresh(session)

    def of(self, user_id: str) -> list[Session]:
        """A member's live dashboard sessions, with their last use as it is known now; latest first."""
        live = [
            replace(each, seen_at=self._seen[each.hash])
            for each in self._live.values()
            if each.user_id == user_id and each.kind is SessionKind.DASHBOARD and self._is_fresh(each)
        ]
        return sorted(live, key=lambda each: each.seen_at, reverse=True)

    async def revoke(self, session: Session) -> None:
        """End a session and the workspace sessions that came from it, now and in the store."""
        await sessions.delete(self._db, session.hash)
        self._drop([each for each in self._live.values() if session.hash in (each.hash, each.parent)])

    async def revoke_user(self, user_id: str) -> None:
        await sessions.delete_user(self._db, user_id)
        self._drop([each for each in self._live.values() if each.user_id == user_id])

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

    def _is_fresh(self, session: Session) -> bool:
        now = now_ms()
        return now < session.expires_at and now < self._seen[session.hash] + IDLE_MS[session.kind]

    def _drop(self, ended: list[Session]) -> None:
        for session in ended:
            self._live.pop(session.hash, None)
            self._seen.pop(session.hash, None)
            self.on_revoked.publish(session.hash.hex(), session)
