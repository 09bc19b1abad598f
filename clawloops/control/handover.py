"""From the dashboard's session to a workspace's own: a one-time code that fits one user, session, host and browser.

1. The workspace host has no session: the browser gets a random state as a `__Host-cl_hs` cookie there and goes to the
   dashboard's `/handover` with that state's challenge (its SHA-256, hex).
2. The dashboard checks session and ownership (or an admin's inspection), and sends the browser back with a code (30 s,
   kept hashed).
3. `/.clawloops/cb` on the workspace host redeems it: code, host and the cookie's state must all fit.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from clawloops.clock import steady_ms
from clawloops.control.inspections import Inspections
from clawloops.control.sessions import Sessions, digest
from clawloops.errors import Forbidden, Gone, NotSignedIn
from clawloops.model.account import Session, SessionKind, User
from clawloops.model.inspection import Inspection
from clawloops.model.runtime import Runtime

CODE_VALID_MS = 30_000
_MAX_CODES = 1000


@dataclass(frozen=True, slots=True)
class _Code:
    session: Session
    inspection: Inspection | None
    runtime_id: str
    host: str
    challenge: str
    expires_at: int


def new_state() -> tuple[str, str]:
    """A state for the cookie, and its challenge for the address."""
    state = secrets.token_urlsafe(32)
    return state, challenge_of(state)


def challenge_of(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


class Handover:
    """Codes live in memory only: after a restart the browser simply asks for another."""

    def __init__(self, sessions: Sessions, inspections: Inspections) -> None:
        self._sessions = sessions
        self._inspections = inspections
        self._codes: dict[bytes, _Code] = {}

    def code(self, *, user: User, session: Session, runtime: Runtime, host: str, challenge: str) -> str:
        """A one-time code for this browser to enter this workspace: the user's own, or one that they inspect.

        Raises Forbidden for any other.
        """
        inspection = None if runtime.owner == user.id else self._inspections.of_slug(runtime.slug, session)
        if inspection is None and runtime.owner != user.id:
            raise Forbidden("This is somebody else's workspace.")
        now = steady_ms()
        self._codes = {key: each for key, each in self._codes.items() if each.expires_at > now}
        if len(self._codes) >= _MAX_CODES:
            self._codes.pop(next(iter(self._codes)))
        code = secrets.token_urlsafe(32)
        self._codes[digest(code)] = _Code(session, inspection, runtime.id, host, challenge, now + CODE_VALID_MS)
        return code

    async def redeem(self, code: str, *, host: str, state: str) -> tuple[str, Session]:
        """The workspace cookie's value and session. A code is good for one try, right or wrong.

        Raises Gone, Forbidden or NotSignedIn.
        """
        known = self._codes.pop(digest(code), None)
        if known is None or known.expires_at <= steady_ms():
            raise Gone("This hand-over was used already or took too long. Open the workspace again.")
        if known.host != host or not hmac.compare_digest(known.challenge, challenge_of(state)):
            raise Forbidden("This hand-over belongs to another browser or workspace. Open the workspace again.")
        if not self._sessions.is_live(known.session):
            raise NotSignedIn("You have signed out meanwhile. Sign in again.")
        if known.inspection is not None and not self._inspections.holds(known.inspection):
            raise Forbidden("This workspace was closed to you meanwhile. Its page on the dashboard says why.")
        token, session = await self._sessions.issue(
            known.session.user_id,
            SessionKind.WORKSPACE,
            runtime_id=known.runtime_id,
            parent=known.session,
            inspection=known.inspection,
        )
        if not self._sessions.is_live(known.session):  # while this one was being written down
            await self._sessions.revoke(session)
            raise NotSignedIn("You have signed out meanwhile. Sign in again.")
        if known.inspection is not None:
            await self._inspections.note_entry(known.inspection, at=session.created_at)
        return token, session
