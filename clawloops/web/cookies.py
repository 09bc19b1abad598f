"""Our cookies: `__Host-` only, read strictly, never handed on to a runtime."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from clawloops.errors import BadInput

SESSION = "__Host-cl_session"  # the dashboard's session
WORKSPACE = "__Host-cl_ws"  # one workspace's session, on that workspace's host
STATE = "__Host-cl_hs"  # the hand-over's state, on the workspace's host
FORM = "__Host-cl_form"  # ties a form to a browser that has no session yet (sign-in, join)
TRIP = "__Host-cl_trip"  # ties the way to an identity provider and back to a browser

LANGUAGE = "__Host-cl_language"  # of the pages; anything but one of ours counts for nothing, so it is not read strictly

LANGUAGE_MAX_AGE_S = 365 * 24 * 3600
TRIP_MAX_AGE_S = 600
STATE_MAX_AGE_S = 120
SESSION_MAX_AGE_S = 12 * 3600
WORKSPACE_MAX_AGE_S = 8 * 3600

_READ = frozenset({SESSION, WORKSPACE, STATE, FORM, TRIP})
_OURS = "__host-cl_"  # compared in lower case: browsers fold the prefix
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 random bits in URL-safe base64


def _pairs(sent: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    for header in sent:
        for part in header.split(";"):
            pair = part.strip(" \t")
            name, equals, value = pair.partition("=")
            if pair:
                yield (name.strip(" \t"), value.strip(" \t"), pair) if equals else ("", name, pair)


def read(sent: Iterable[str]) -> dict[str, str]:
    """Our cookies by name, of all `Cookie` headers. Raises BadInput for one that comes twice or is not what we gave.

    Two of one name mean that somebody planted one of them: whoever picks the first or the last picks wrongly.
    """
    found: dict[str, str] = {}
    for name, value, _ in _pairs(sent):
        if name not in _READ:
            continue
        if name in found or not _VALUE.fullmatch(value):
            raise BadInput(
                "Your browser sent a ClawLoops cookie twice or damaged. Clear this site's cookies and sign in again."
            )
        found[name] = value
    return found


def language(sent: Iterable[str]) -> str:
    """The language that this browser chose, whatever stands there; "" for none."""
    return next((value for name, value, _ in _pairs(sent) if name == LANGUAGE), "")


def foreign(sent: Iterable[str]) -> str:
    """The one `Cookie` header that a runtime may see: all but ours, in any spelling. "" when nothing is left."""
    return "; ".join(
        pair
        for name, value, pair in _pairs(sent)
        if not (name or value).lower().lstrip("= \t").startswith(_OURS) and pair.isprintable()
    )


def give(name: str, value: str, *, max_age_s: int) -> str:
    """A `Set-Cookie` value: this host only, no JavaScript, not sent along with cross-site subrequests."""
    return f"{name}={value}; Path=/; Max-Age={max_age_s}; Secure; HttpOnly; SameSite=Lax"


def take(name: str) -> str:
    return f"{name}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"


def csrf_of(cookie: str) -> str:
    """The form token that belongs to a session or form cookie: derived, so it outlives a restart."""
    return hashlib.sha256(b"clawloops form\0" + cookie.encode()).hexdigest()
