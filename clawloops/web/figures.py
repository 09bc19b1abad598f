"""Numbers, sizes and times as a person reads them, in the language of the page."""

from __future__ import annotations

from datetime import UTC, date, datetime

from clawloops.clock import now_ms
from clawloops.web.languages import spoken

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WITHIN = (
    (1440, "in {count} day", "in {count} days"),
    (60, "in {count} hour", "in {count} hours"),
    (1, "in {count} minute", "in {count} minutes"),
)  # minutes


def form(text: str, **values: object) -> str:
    """One of the forms below, filled in."""
    return spoken().form(text).format_map(values)


def number(value: int) -> str:
    """1234567 -> 1,234,567"""
    return f"{value:,}"


def dollars(cost: int) -> str:
    """µUSD as a person reads them: $12.30, and what is less than a cent to its first figures: $0.0042"""
    amount = cost / 1_000_000
    return f"${amount:,.2f}" if amount >= 0.01 or not cost else f"${amount:.2g}"


def energy(mwh: int) -> str:
    """Thousandths of a watt-hour: 0.42 Wh, 12 Wh, 1.3 kWh"""
    if mwh >= 1_000_000:
        return f"{mwh / 1_000_000:.1f} kWh"
    return f"{mwh / 1000:.2f} Wh" if mwh < 10_000 else f"{mwh / 1000:.0f} Wh"


def duration(ms: int) -> str:
    """A length of time as a person reads it: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    seconds = max(0, ms) / 1000
    whole = round(seconds)
    if seconds < 10 or whole < 60:
        return form("{seconds} s", seconds=f"{seconds:.1f}" if seconds < 10 else whole)
    if whole < 3600:
        return form("{minutes} min {seconds} s", minutes=whole // 60, seconds=whole % 60)
    return form("{hours} h {minutes} min", hours=f"{whole // 3600:,}", minutes=whole % 3600 // 60)


def took(ms: int) -> str:
    """As `duration`, to the millisecond where that is all: 19 ms."""
    return f"{ms} ms" if 0 <= ms < 100 else duration(ms)


def size(count: int) -> str:
    """Bytes as a person reads them: 12 KiB, 3.4 MiB, 1.2 GiB."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            value = count / (1 << power)
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return form("{count} bytes", count=count)


def day(instant: int) -> str:
    """A Unix ms instant as a date (UTC): 29 Nov 2025"""
    at = datetime.fromtimestamp(instant / 1000, UTC)
    return form("{day} {month} {year}", day=at.day, month=_month(at), year=at.year)


def day_in_month(at: date) -> str:
    """29 Nov"""
    return form("{day} {month}", day=at.day, month=_month(at))


def moment(instant: int) -> str:
    """A Unix ms instant to the minute (UTC): 29 Nov, 14:05 UTC"""
    at = datetime.fromtimestamp(instant / 1000, UTC)
    return form("{day} {month}, {time} UTC", day=at.day, month=_month(at), time=f"{at:%H:%M}")


def iso(instant: int) -> str:
    """A Unix ms instant as the `datetime` attribute of HTML wants it: 2025-11-29T14:05:07Z"""
    return f"{datetime.fromtimestamp(instant / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def within(instant: int) -> str:
    """How long until a Unix ms instant: in 7 days, in 3 hours, in 5 minutes."""
    minutes = max(0, instant - now_ms() + 30_000) // 60_000
    for length, one, many in _WITHIN:
        if minutes >= length:
            count = round(minutes / length)
            return form(one if count == 1 else many, count=count)
    return form("in less than a minute")


def _month(at: date) -> str:
    return form(_MONTHS[at.month - 1])
