"""What a model call used, and sums of it. Tokens are the backend's own count."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tokens:
    input: int = 0
    output: int = 0
    cached: int = 0  # part of input
    reasoning: int = 0  # part of output


@dataclass(frozen=True, slots=True)
class Call:
    """One settled model call. No prompt and no answer is ever part of it."""

    id: str  # 32 hex, made at admission; settling twice counts once
    at: int  # Unix ms at which it was admitted
    user_id: str
    runtime_id: str  # "" where a member's own tool called
    model: str  # public name
    backend_id: str
    tokens: Tokens
    status: int  # HTTP status given to the caller; 499 when the caller left
    first_ms: int | None  # time to the first byte of the answer, ms
    total_ms: int
    key_id: str = ""  # of the member's key that was used; "" for a runtime's token
    queue_ms: int = 0  # how long it waited for its turn; part of total_ms
    held_ms: int = 0  # how long it had its seat at a backend that serves few at once: the time of its GPU


@dataclass(frozen=True, slots=True)
class Total:
    """Calls of one user (or of everybody) added up over a span of time."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
