"""What a workspace's page sends: a person who does something, or a page that is merely open. Pure.

Measured with the Control UI of OpenClaw 2026.9.6 in Chromium; its frames are described in OpenClaw's own
docs/gateway/protocol/transport.md. What is not known here is taken for a person: waking once too often is no harm.
"""

from __future__ import annotations

import json
import re
from enum import Enum

MAX_HEAD = 512  # the method stands before the parameters, which may be megabytes
MAX_NOTE = 4096  # bytes; notes are kept over a pause, so a larger one is taken for a person's deed, which has to wait

_METHOD = re.compile(rb'"method"\s*:\s*"([A-Za-z0-9_.-]{1,64})"')
_ID = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9:_.-]{1,128})"')
_POLLS = frozenset(
    {
        b"sessions.catalog.list",  # every 30 s, whatever page is open
        b"agent.identity.get",  # every 60 s
        b"sessions.list",  # seconds after OpenClaw told of any change
        b"logs.tail",  # every 2 s on the page of logs
        b"last-heartbeat",  # every 3 s on the page for debugging
        b"diagnostics.lanes",
        b"system.info",  # every 10 s on the pages of systems and settings
    }
)
_NOTES = frozenset(
    {
        b"sessions.observer.visibility",  # the tab was covered or uncovered
        b"controlUi.sessionPullRequests.subscribe",
    }
)
_QUIET = re.compile(r"/(?:sw\.js|favicon[^/]*|apple-touch-icon\.png|api/users/[^/]+/avatar)(?:\?.*)?")


class Meaning(Enum):
    PERSON = "person"  # somebody does something
    POLL = "poll"  # the page asks by itself, again and again
    NOTE = "note"  # the page tells something that OpenClaw has to know sooner or later


def meaning(data: bytes, *, text: bool) -> Meaning:
    """Of one frame from a browser. Only its head is looked at."""
    found = _METHOD.search(data, 0, MAX_HEAD) if text else None
    if found is None:
        return Meaning.PERSON
    if found[1] in _NOTES and len(data) <= MAX_NOTE:
        return Meaning.NOTE
    return Meaning.POLL if found[1] in _POLLS else Meaning.PERSON


def is_activity(data: bytes, *, text: bool) -> bool:
    """Whether a person does something with this frame."""
    return meaning(data, text=text) is Meaning.PERSON


def is_quiet(method: str, uri: str) -> bool:
    """Whether an open page sends this HTTP request by itself; `uri`: path and query."""
    return method in ("GET", "HEAD") and _QUIET.fullmatch(uri) is not None


def refusal(data: bytes, *, retry_after_s: int) -> bytes | None:
    """OpenClaw's own answer to a request while it is suspended, which its page takes calmly; None for no request."""
    method, request = _METHOD.search(data, 0, MAX_HEAD), _ID.search(data, 0, MAX_HEAD)
    if method is None or request is None:
        return None
    name = method[1].decode()
    error = {
        "code": "UNAVAILABLE",
        "message": f"{name} unavailable during gateway suspension",
        "retryable": True,
        "retryAfterMs": retry_after_s * 1000,
        "details": {"method": name, "reason": "gateway-suspending", "phase": "prepared"},
    }
    return json.dumps({"type": "res", "id": request[1].decode(), "ok": False, "error": error}).encode()


def tick(now_ms: int) -> bytes:
    """The sign of life for which a page waits: after 60 s without any frame it gives its connection up.

    Without a `seq`, so that it leaves no gap in OpenClaw's own numbering.
    """
    return json.dumps({"type": "event", "event": "tick", "payload": {"ts": now_ms}}).encode()


ACCEPTING = json.dumps({"type": "event", "event": "gateway.suspension", "payload": {"phase": "accepting"}}).encode()
"""Takes back what OpenClaw told its pages before it was paused: a person's click is to be sent, so that it wakes it."""
