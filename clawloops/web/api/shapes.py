"""What bodies, queries and answers are made of: typed once, checked by msgspec, described by it as JSON Schema."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

PLAIN = r"^[^\x00-\x1f\x7f]*$"
"""No control characters: PostgreSQL keeps no NUL, and a name is one line."""

Id = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", description="As the lists give it.")]
Number = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=60, pattern=PLAIN)]
Line = Annotated[str, Meta(max_length=200, pattern=PLAIN)]
ModelName = Annotated[str, Meta(min_length=1, max_length=128, pattern=PLAIN)]
Place = Annotated[str, Meta(max_length=300, pattern=PLAIN, description="A host, or host:port; *. for all below.")]
Instant = Annotated[datetime, Meta(description="RFC 3339, in UTC.")]


class Given(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller sends."""


class Shown(Struct, frozen=True, kw_only=True):
    """What is answered."""


def at(instant: int) -> datetime:
    """A Unix ms instant."""
    return datetime.fromtimestamp(instant / 1000, UTC)


def at_or_none(instant: int | None) -> datetime | None:
    """The same; None where 0 or None stands for never."""
    return at(instant) if instant else None
