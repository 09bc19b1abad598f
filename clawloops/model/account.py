"""People: users, their groups, the sessions that prove them, and the invitations that make them.

All instants are Unix time in milliseconds (`*_at`); a hash is the SHA-256 of a 256-bit random value, 32 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"

    @property
    def administers(self) -> bool:
        """Whether this role may change models, members and settings."""
        return self is not Role.MEMBER


class SessionKind(StrEnum):
    DASHBOARD = "dashboard"
    WORKSPACE = "workspace"  # good for one workspace host, never for the dashboard or the API


@dataclass(frozen=True, slots=True)
class User:
    id: str  # opaque ("u" + 16 hex), safe to hand to a runtime
    login: str  # lower case, unique
    name: str
    role: Role
    password_hash: str  # PHC string (Argon2id)
    disabled_at: int | None
    created_at: int

    @property
    def may_invite(self) -> bool:
        """Links of somebody who was disabled end with them."""
        return self.role.administers and self.disabled_at is None


@dataclass(frozen=True, slots=True)
class Group:
    """Members who are treated alike: what models they may use, whose key pays, how much they may spend."""

    id: str  # "g" + 16 hex
    name: str  # unique
    members: frozenset[str]  # user ids
    created_at: int
    weight: int = 1  # share of a backend's time that each of them has, against 1 of others; the largest counts


@dataclass(frozen=True, slots=True)
class Session:
    hash: bytes
    kind: SessionKind
    user_id: str
    runtime_id: str | None  # for SessionKind.WORKSPACE: the only workspace it opens
    parent: bytes | None  # for SessionKind.WORKSPACE: the dashboard session it came from; ends with it
    created_at: int
    seen_at: int
    expires_at: int
    browser: str = ""  # what its owner recognises a dashboard session by, for example "Firefox on Linux"
    address: str = ""  # where that signed in from

    @property
    def id(self) -> str:
        """What names it on a page. Says nothing of its token."""
        return self.hash.hex()[:16]


@dataclass(frozen=True, slots=True)
class Invitation:
    id: str
    token_hash: bytes
    role: Role
    note: str  # for whom, as the inviter wrote it
    invited_by: str | None  # None: the installer's set-up link
    created_at: int
    expires_at: int
    used_at: int | None
    used_by: str | None
