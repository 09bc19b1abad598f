"""What a benchmark found: a table for people, a list for programs, and whether every gate holds. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number."""

    name: str
    value: float
    unit: str
    gate: float | None = None  # the largest value that is accepted (or smallest, see below); None: told, not judged
    moonshot: float | None = None
    more_is_better: bool = False
    spread: str = ""  # of the single values behind it

    @property
    def ok(self) -> bool:
        return self.gate is None or (self.value >= self.gate if self.more_is_better else self.value <= self.gate)


def percentile(values: Sequence[float], rank: float) -> float:
    """The nearest-rank percentile: of few values the 99th is the largest, never one in between. `rank`: 0 to 100."""
    ordered = sorted(values)
    place = -(-len(ordered) * rank // 100)  # rounded up
    return ordered[max(0, int(place) - 1)]


def spread(values: Sequence[float], unit: str = "") -> str:
    """Smallest, middle and largest, and how many there are."""
    low, middle, high = (f"{each:.3g}" for each in (min(values), median(values), max(values)))
    return f"{low} … {middle} … {high}{unit and ' ' + unit} (n={len(values)})"


def table(figures: Sequence[Figure]) -> str:
    """For people. A gate that does not hold is written in capitals."""
    heads = ("", "value", "gate", "", "lowest … median … highest")
    rows = [(each.name, _with(each.value, each.unit), _gate(each), _verdict(each), each.spread) for each in figures]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in [heads, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def as_json(figures: Sequence[Figure]) -> str:
    """For programs."""
    keys = ("name", "value", "unit", "gate", "moonshot", "ok")
    return json.dumps([{key: getattr(each, key) for key in keys} for each in figures], indent=1)


def holds(figures: Sequence[Figure]) -> bool:
    """Whether every gate does. Nothing measured holds nothing."""
    return bool(figures) and all(each.ok for each in figures)


def _with(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".strip() if value < 1000 else f"{value:.0f} {unit}".strip()


def _gate(figure: Figure) -> str:
    return "" if figure.gate is None else f"{'≥' if figure.more_is_better else '≤'} {_with(figure.gate, figure.unit)}"


def _verdict(figure: Figure) -> str:
    if figure.gate is None:
        return ""
    return "holds" if figure.ok else "FAILS"
