"""People: users, their groups, the sessions that prove them, and the one-time links that make them or let them back in.

All instants are Unix time in milliseconds (`*_at`); a hash is the SHA-256 of a 256-bit random value, 32 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"

    @property
    def administers(self) -> bool:
        """Whether this role may change models, members and settings."""
        return self in (Role.OWNER, Role.ADMIN)

    @property
    def oversees(self) -> bool:
        """Whether this role sees how the box does as a whole: its state, its models, and what all have used."""
        return self is not Role.MEMBER

    @property
    def works(self) -> bool:
        """Whether this role has a workspace, keys and tokens. A viewer changes nothing but their own account."""
        return self is not Role.VIEWER

    def outranks(self, other: Role) -> bool:
        ranks = tuple(Role)  # from above
        return ranks.index(self) < ranks.index(other)


class SessionKind(StrEnum):
    DASHBOARD = "dashboard"
    WORKSPACE = "workspace"  # good for one workspace host, never for the dashboard or the API


@dataclass(frozen=True, slots=True)
class User:
    id: str  # opaque ("u" + 16 hex), safe to hand to a runtime
    login: str  # lower case, unique
    name: str
    role: Role
    password_hash: str  # PHC string (Argon2id); "" of whoever signs in elsewhere alone
    disabled_at: int | None
    created_at: int

    @property
    def has_password(self) -> bool:
        return bool(self.password_hash)

    @property
    def may_invite(self) -> bool:
        """Links of somebody who was disabled end with them."""
        return self.role.administers and self.disabled_at is None

    @property
    def may_work(self) -> bool:
        """Whether their workspace, keys and tokens are open to them now."""
        return self.role.works and self.disabled_at is None


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
    proved_at: int = 0  # when its owner last gave a password or a second factor; 0 for a workspace's
    inspection: str | None = None  # for SessionKind.WORKSPACE of somebody else's: the inspection that it rests on

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
    invited_by: str | None  # None: from a shell on the box, as the set-up link is
    created_at: int
    expires_at: int
    used_at: int | None
    used_by: str | None
    group_id: str | None = None  # whoever comes of it is in that group from the start


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who is to be invited."""

    note: str  # for whom; admins see it
    role: Role = Role.MEMBER
    group_id: str | None = None
    email: str = ""  # where the link is sent, when it is sent


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """A one-time link with which a member sets a new password. There is one for each member at most."""

    user_id: str
    token_hash: bytes
    drops_factors: bool  # their second factors end with its use, too
    made_by: str
    made_at: int
    expires_at: int
    used_at: int | None = None
