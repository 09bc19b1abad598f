"""Fields of forms as text, read as what they stand for."""

from __future__ import annotations

import re

from clawloops.errors import BadInput

_AMOUNT = re.compile(r"(\d{1,15}|\d{1,3}(?:,\d{3}){1,4})(?:\.(\d{1,9}))?", re.ASCII)


def number(text: str, field: str, *, digits: int, refusal: str) -> int:
    """A whole number of at most so many digits, without a sign. Raises BadInput with the field and the sentence."""
    if not text.isdecimal() or len(text) > digits:
        raise BadInput(refusal, field=field)
    return int(text)


def decimal(text: str, field: str, *, scale: int, refusal: str) -> int:
    """An amount as people write it ("1,000" or "12.50"), times `scale`. Raises BadInput for what is no amount above 0.

    A comma stands before three digits and nowhere else, for elsewhere it means a point. What is smaller than one in the
    scale is cut off.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise BadInput(refusal, field=field)
    amount = int(found[1].replace(",", "")) * scale + int((found[2] or "0").ljust(9, "0")) * scale // 10**9
    if amount < 1:
        raise BadInput(refusal, field=field)
    return amount


def plain(amount: int, scale: int) -> str:
    """An amount the way `decimal` takes it: "0.25"."""
    return f"{amount / scale:.6f}".rstrip("0").rstrip(".")
