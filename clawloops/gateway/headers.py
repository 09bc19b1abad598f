"""Which header fields may pass, both ways: what is not listed here does not cross the gateway.

What is given has lower-case names.
"""

from __future__ import annotations

from collections.abc import Mapping

_TO_UPSTREAM = ("accept", "anthropic-version", "anthropic-beta")
_TO_CALLER = {
    "content-type": "Content-Type",
    "content-encoding": "Content-Encoding",
    "cache-control": "Cache-Control",
    "retry-after": "Retry-After",
}
USER_AGENT = "clawloops"
OF_JSON = {"Content-Type": "application/json", "Server": USER_AGENT}  # of an answer of our own


def to_upstream(asked: Mapping[str, str], *, credential: Mapping[str, str]) -> dict[str, str]:
    """The upstream's request header. `asked` is the caller's, `credential` what the backend wants."""
    header = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",  # the meter reads the bytes that pass, so nothing may be packed
        "User-Agent": USER_AGENT,
    }
    for name in _TO_UPSTREAM:
        if (value := asked.get(name)) is not None:
            header[name] = value
    return {**credential, **header}  # a version of its API that the caller names goes before the usual one


def to_caller(given: Mapping[str, str]) -> dict[str, str]:
    """The caller's answer header out of the upstream's."""
    header = {name: given[key] for key, name in _TO_CALLER.items() if key in given}
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
    return given.get("content-type", "").lower().startswith(("text/event-stream", "application/x-ndjson"))
