"""Fields of forms as text, read as what they stand for."""

from __future__ import annotations

from clawloops.errors import BadInput


def number(text: str, field: str, *, digits: int, refusal: str) -> int:
    """A whole number of at most so many digits, without a sign. Raises BadInput with the field and the sentence."""
    if not text.isdecimal() or len(text) > digits:
        raise BadInput(refusal, field=field)
    return int(text)
