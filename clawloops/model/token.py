"""Tokens with which members' own programs use the JSON API: each opens some areas of it, until a day."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TokenScope(StrEnum):
    """What a token opens. One of them never stands for another: who writes and reads has both."""

    ME_READ = "me:read"
    WORKSPACE_READ = "workspace:read"
    WORKSPACE_WRITE = "workspace:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"

    @property
    def is_for_admins(self) -> bool:
        """Worth nothing in the hands of somebody who is no admin, or no longer one."""
        return self in (TokenScope.ADMIN_READ, TokenScope.ADMIN_WRITE)


@dataclass(frozen=True, slots=True)
class PersonalToken:
    id: str  # "t" + 16 hex
    user_id: str
    name: str  # its owner's word for it; unique among theirs
    token_hash: bytes  # SHA-256 of the token
    hint: str  # the token's first characters, for people who compare
    scopes: frozenset[TokenScope]
    created_at: int  # Unix ms
    expires_at: int  # Unix ms; there is always an end
    used_at: int = 0  # Unix ms of its last use, to the minute; 0: never

    @property
    def in_words(self) -> str:
        """What the audit calls it."""
        return f"token {self.name} ({self.id})"
