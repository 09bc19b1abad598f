"""Limits on what may be used of models: whose, of what, and in which span of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from clawloops.model.report import DAY_MS

_MINUTE_MS = 60_000


class Scope(StrEnum):
    BOX = "box"  # everybody together
    EACH = "each"  # every member, each for themself
    MEMBER = "member"
    GROUP = "group"  # its members together
    KEY = "key"  # a member's own key
    MODEL = "model"  # a public name, everybody together


class Measure(StrEnum):
    TOKENS = "tokens"  # of input and output
    COST = "cost"  # µUSD
    REQUESTS = "requests"
    GPU_MS = "gpu_ms"  # held at a backend that serves few calls at once

    def share(self, used: int, amount: int) -> str:
        """So much of an amount: "3 of 10 calls"."""
        whole = self.in_words(amount)
        part = self.in_words(used)
        return f"{part if self is Measure.COST else part.split()[0]} of {whole}"

    def in_words(self, amount: int) -> str:
        """An amount in the unit that people use."""
        match self:
            case Measure.TOKENS:
                return f"{amount:,} tokens"
            case Measure.COST:
                return f"${amount / 1_000_000:,.2f}"
            case Measure.REQUESTS:
                return f"{amount:,} {'call' if amount == 1 else 'calls'}"
            case Measure.GPU_MS:
                return f"{amount / 1000:,.0f} s of GPU time"


class Span(StrEnum):
    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"

    def around(self, instant: int) -> tuple[int, int]:
        """First ms (Unix, UTC) of the span that `instant` is in, and first ms of the next one."""
        match self:
            case Span.MINUTE | Span.DAY:
                length = _MINUTE_MS if self is Span.MINUTE else DAY_MS
                start = instant - instant % length
                return start, start + length
            case Span.MONTH:
                first = datetime.fromtimestamp(instant / 1000, UTC).replace(day=1, hour=0, minute=0, second=0)
                first = first.replace(microsecond=0)
                following = (first + timedelta(days=32)).replace(day=1)
                return int(first.timestamp() * 1000), int(following.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Budget:
    id: str  # "l" + 16 hex
    scope: Scope
    subject: str  # id of the member, group, key or model; "" for the box and for each member
    measure: Measure
    span: Span
    amount: int  # in the measure's unit
    is_background: bool  # counts and holds only what runtimes do with nobody at them
    created_at: int

    @property
    def in_words(self) -> str:
        """What may be used, "1,000 tokens a day"."""
        return f"{self.measure.in_words(self.amount)} a {self.span}"
