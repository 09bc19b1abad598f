"""Fields of forms as text, read as what they stand for."""

from __future__ import annotations

from clawloops.errors import BadInput


def number(text: str, field: str, *, digits: int, refusal: str) -> int:
    """A whole number of at most so many digits, without a sign. Raises BadInput with the field and the sentence."""
    if not text.isdecimal() or len(text) > digits:
        raise BadInput(refusal, field=field)
    return int(text)


def decimal(text: str, field: str, *, scale: int, refusal: str) -> int:
    """An amount as people write it ("1,000" or "12.50"), times `scale`. Raises BadInput for what is no amount above 0.

    What is smaller than one in the scale is cut off.
    """
    whole, dot, part = text.strip().replace(",", "").partition(".")
    if not whole.isdecimal() or len(whole) > 15 or (dot and not part.isdecimal()) or len(part) > 9:
        raise BadInput(refusal, field=field)
    amount = int(whole) * scale + int((part or "0").ljust(9, "0")) * scale // 10**9
    if amount < 1:
        raise BadInput(refusal, field=field)
    return amount


def plain(amount: int, scale: int) -> str:
    """An amount the way `decimal` takes it: "0.25"."""
    return f"{amount / scale:.6f}".rstrip("0").rstrip(".")
