"""What was used over a span of days, as a page and a table show it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Self

from clawloops.model.usage import Price, Total

DAY_MS = 24 * 60 * 60 * 1000
_EPOCH = date(1970, 1, 1)
_EIGHTHS = 8  # of an octave: two neighbours are 9 % apart


def day_of(instant: int) -> int:
    """The day of UTC that an instant (Unix ms) is in, counted from 1970-01-01."""
    return instant // DAY_MS


def date_of(day: int) -> date:
    return date.fromordinal(_EPOCH.toordinal() + day)


def eighths_of(ms: int) -> int:
    """A length of time as eighths of an octave over one millisecond: what takes twice as long is eight more."""
    return round(_EIGHTHS * math.log2(max(ms, 1)))


def percentile_ms(calls: Mapping[int, int], share: float) -> int | None:
    """How long (ms, to 5 %) that share of the calls took at most, of calls by eighths of an octave; None of none."""
    left = sum(calls.values()) * share
    for eighths in sorted(calls):
        left -= calls[eighths]
        if left <= 0:
            return round(2 ** (eighths / _EIGHTHS))
    return None


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of UTC."""

    year: int
    number: int  # 1 … 12

    @classmethod
    def around(cls, instant: int) -> Self:
        """`instant`: Unix ms."""
        at = datetime.fromtimestamp(instant / 1000, UTC)
        return cls(at.year, at.month)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Of 2026-11; None for anything else."""
        found = re.fullmatch(r"(20\d\d)-(0[1-9]|1[0-2])", text, re.ASCII)
        return cls(int(found[1]), int(found[2])) if found else None

    @property
    def count(self) -> int:
        """Months from the year 0 on."""
        return self.year * 12 + self.number - 1

    @property
    def days(self) -> range:
        """Counted as by `day_of`."""
        first, following = (each.first.toordinal() - _EPOCH.toordinal() for each in (self, self.later))
        return range(first, following)

    @property
    def first(self) -> date:
        return date(self.year, self.number, 1)

    @property
    def later(self) -> Month:
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def earlier(self) -> Month:
        return Month(self.year - (self.number == 1), (self.number - 2) % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"


@dataclass(frozen=True, slots=True)
class Compared:
    """A model of somebody else, by whose price it is told what this box's own answers would have cost."""

    name: str  # as in LiteLLM's table
    price: Price


@dataclass(frozen=True, slots=True)
class ModelUse:
    total: Total
    median_ms: int | None  # to the first byte of an answer, everybody's calls; None where there was none
    p95_ms: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """One member's month, or everybody's."""

    month: Month
    total: Total
    days: Mapping[int, Total]  # by day; those without a call are left out
    models: Mapping[str, ModelUse]  # by public name, most tokens first
    members: Mapping[str, Total]  # by user id, most tokens first; empty in one member's report
    saved: int | None  # µUSD that the free ones of these answers would have cost; None when nothing is compared with


@dataclass(frozen=True, slots=True)
class Part:
    """The calls of one model that cost something, or those that did not."""

    model: str
    is_free: bool
    total: Total


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table that is told as CSV."""

    day: int
    user_id: str
    model: str
    total: Total
