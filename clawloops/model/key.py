"""Keys with which members' own tools call models."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "clk_"  # so that scanners for leaked secrets know one


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str  # "k" + 16 hex
    user_id: str
    name: str  # its owner's word for it; unique among theirs
    token_hash: bytes  # SHA-256 of the key
    hint: str  # the key's first characters, for people who compare
    models: frozenset[str]  # public names that it opens; empty: every one
    created_at: int
    expires_at: int  # Unix ms; 0: never
    token_id: str | None = None  # of the personal token that it was made with, and ends with
