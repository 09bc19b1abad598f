"""What a model call used, and sums of it. Tokens are the backend's own count; money is µUSD, 10⁻⁶ US dollars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Tokens:
    input: int = 0
    output: int = 0
    cached: int = 0  # part of input
    reasoning: int = 0  # part of output


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens, in µUSD: at 3 dollars it is 3,000,000."""

    input: int = 0
    output: int = 0
    cached: int = 0  # of input that the provider had in its cache

    def cost(self, tokens: Tokens) -> int:
        """µUSD, rounded up."""
        if self is FREE:
            return 0
        cached = min(tokens.cached, tokens.input)
        exact = (tokens.input - cached) * self.input + cached * self.cached + tokens.output * self.output
        return -(-exact // 1_000_000)


FREE = Price()


@dataclass(frozen=True, slots=True)
class Opened:
    """A call at its admission. If nothing settles it, it is charged as far as it was last seen."""

    id: str  # 32 hex
    at: int  # Unix ms
    user_id: str
    runtime_id: str  # "" where a member's own tool called
    key_id: str  # of the member's key that was used; "" for a runtime's token
    model: str  # public name
    backend_id: str  # the first one that it is meant for
    input: int  # tokens, as estimated
    cost: int  # µUSD of these
    images: int
    is_background: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an open call has come, about each second."""

    id: str
    backend_id: str
    output: int  # tokens so far, as estimated
    cost: int  # µUSD, input included
    total_ms: int
    held_ms: int
    energy_mwh: int


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
    status: int  # HTTP status given to the caller; 499 when the caller left, `LOST` when the gateway itself was ended
    first_ms: int | None  # time to the first byte of the answer, ms
    total_ms: int
    key_id: str = ""  # of the member's key that was used; "" for a runtime's token
    queue_ms: int = 0  # how long it waited for its turn; part of total_ms
    held_ms: int = 0  # how long it had its seat at a backend that serves few at once: the time of its GPU
    cost: int = 0  # µUSD
    energy_mwh: int = 0  # thousandths of a watt-hour, where the backend's draw is known
    images: int = 0  # sent in
    is_background: bool = False  # a runtime's, with nobody at it


LOST = 0
"""The status of a call that ended with its gateway."""


def lost(opened: Opened, progress: Progress | None) -> Call:
    """What an open call is charged once its gateway is gone: its input as estimated, and its last progress."""
    return Call(
        id=opened.id,
        at=opened.at,
        user_id=opened.user_id,
        runtime_id=opened.runtime_id,
        model=opened.model,
        backend_id=progress.backend_id if progress else opened.backend_id,
        tokens=Tokens(opened.input, progress.output if progress else 0),
        status=LOST,
        first_ms=None,
        total_ms=progress.total_ms if progress else 0,
        key_id=opened.key_id,
        held_ms=progress.held_ms if progress else 0,
        cost=progress.cost if progress else opened.cost,
        energy_mwh=progress.energy_mwh if progress else 0,
        images=opened.images,
        is_background=opened.is_background,
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a backend has answered."""

    calls: int  # with an answer
    first_ms: int  # from a call to the first byte of its answer, on average; its wait in our queue included
    output: int  # tokens of those answers that came piece by piece
    output_ms: int  # from the first byte of these to the last

    @property
    def tokens_per_s(self) -> float | None:
        """Of one answer, on average; None when none came piece by piece."""
        return self.output * 1000 / self.output_ms if self.output_ms else None


@dataclass(frozen=True, slots=True)
class Total:
    """Calls of one user (or of everybody) added up over a span of time."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    cost: int = 0  # µUSD
    held_ms: int = 0
    energy_mwh: int = 0
    failed: int = 0  # calls that were refused, had no answer, or whose caller left

    @classmethod
    def of(cls, totals: Iterable[Total]) -> Total:
        """The sum of them."""
        return cls(*map(sum, zip(*map(_AMOUNTS, totals), strict=True)))


_AMOUNTS = attrgetter(*Total.__dataclass_fields__)
