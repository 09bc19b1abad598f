"""Which header fields may pass, both ways: what is not listed here does not cross the gateway."""

from __future__ import annotations

from collections.abc import Mapping

_TO_UPSTREAM = ("Accept", "anthropic-version", "anthropic-beta")
_TO_CALLER = ("Content-Type", "Content-Encoding", "Cache-Control", "Retry-After")
USER_AGENT = "clawloops"


def to_upstream(asked: Mapping[str, str], *, credential: Mapping[str, str]) -> dict[str, str]:
    """The upstream's request header. `asked` is the caller's (a CIMultiDict), `credential` what the backend wants."""
    header = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",  # the meter reads the bytes that pass, so nothing may be packed
        "User-Agent": USER_AGENT,
    }
    for name in _TO_UPSTREAM:
        if (value := asked.get(name)) is not None:
            header[name] = value
    return {**credential, **header}  # a version of its API that the caller names goes before the usual one


def to_caller(given: Mapping[str, str], *, length: bool) -> dict[str, str]:
    """The caller's answer header out of the upstream's; with `length`, the body passes whole and keeps its length."""
    header = {name: given[name] for name in _TO_CALLER if name in given}
    if length and "Content-Length" in given:
        header["Content-Length"] = given["Content-Length"]
    header["Server"] = USER_AGENT
    return header


def of_queue(place: int, expected_s: float, waited_s: float) -> dict[str, str]:
    """Where a call stood when it came (0: it was its turn at once), the wait that was expected, and the real one."""
    return {
        "X-ClawLoops-Queue-Place": str(place),
        "X-ClawLoops-Queue-Expected": f"{expected_s:.1f}",  # seconds, as the next
        "X-ClawLoops-Queue-Waited": f"{waited_s:.1f}",
    }


def is_stream(given: Mapping[str, str]) -> bool:
    """Whether the upstream answers with events: server-sent ones, or lines of JSON."""
    return given.get("Content-Type", "").lower().startswith(("text/event-stream", "application/x-ndjson"))


def ends_by_itself(given: Mapping[str, str]) -> bool:
    """Whether the framing tells a finished body from a cut one (HTTP/1.0 bodies just end)."""
    return "Content-Length" in given or "chunked" in given.get("Transfer-Encoding", "").lower()
