"""Every call to the Docker Engine that ClawLoops makes. What is not in this table is refused before it is sent.

`client.py` holds the control plane itself to it, and `clawloops/guard`, which alone has the Engine's socket, whoever
speaks in the control plane's place. Paths are those of the Docker Engine API without the version prefix (`/v1.41`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_ID = r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)"
_IMAGE = r"(?P<name>[A-Za-z0-9][A-Za-z0-9_./:@-]*)"

MOST_LOG_ENTRIES = 20_000
"""Of a runtime's log, read at once."""


class Target(StrEnum):
    """What the name in a call's path has to lead to."""

    NOTHING = "no name"
    RUNTIME = "a runtime's container"  # or the canary, which stands in a runtime's place
    CARRIER = "a carrier"
    CONTAINER = "a runtime's container or a carrier"
    PART = "a part of the appliance"
    MEASURED = "a runtime's container or a part of the appliance"
    NETWORK = "a member's network"
    VOLUME = "a workspace volume"
    IMAGE = "an image of OpenClaw"


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str  # regular expression over the whole path
    purpose: str
    target: Target = Target.NOTHING
    query: tuple[str, ...] = ()  # names of the parameters that are sent


TABLE = (
    Call("GET", r"/version", "agree on the API version"),
    Call("GET", r"/info", "has this host the sandbox that runtimes are to run in"),
    Call("GET", r"/events", "wake the loop", query=("filters",)),
    Call(
        "GET",
        r"/containers/json",
        "find a runtime's containers, by our labels; find strangers",
        query=("all", "limit", "size", "trunc_cmd", "filters"),
    ),
    Call("GET", rf"/containers/{_ID}/json", "observe one of them", Target.RUNTIME),
    Call(
        "POST",
        r"/containers/create",
        "make a runtime's container (spec.create_body), the canary (bodies.canary) or a carrier (bodies.carrier)",
        query=("name",),
    ),
    Call(
        "GET",
        rf"/containers/{_ID}/logs",
        "show its member what it has printed",
        Target.RUNTIME,
        ("stdout", "stderr", "timestamps", "follow", "tail"),
    ),
    Call("POST", rf"/containers/{_ID}/start", "start it", Target.RUNTIME),
    Call(
        "POST",
        rf"/containers/{_ID}/kill",
        "SIGTERM to let it drain; SIGKILL once its drain time is over",
        Target.RUNTIME,
        ("signal",),
    ),
    Call(
        "GET",
        rf"/containers/{_ID}/stats",
        "how much of the box it uses",
        Target.MEASURED,
        ("stream", "one-shot"),
    ),
    Call("POST", rf"/containers/{_ID}/restart", "start a part anew that does not answer", Target.PART, ("t",)),
    Call("POST", rf"/containers/{_ID}/pause", "freeze it while nobody uses it", Target.RUNTIME),
    Call("POST", rf"/containers/{_ID}/unpause", "let it go on", Target.RUNTIME),
    Call(
        "POST",
        rf"/containers/{_ID}/update",
        "push a frozen one's memory out to swap, or give its limit back",
        Target.RUNTIME,
    ),
    Call(
        "DELETE",
        rf"/containers/{_ID}",
        "remove a container that is down; never its volume",
        Target.CONTAINER,
        ("v", "link", "force"),
    ),
    Call(
        "GET",
        rf"/containers/{_ID}/archive",
        "read a workspace through a carrier, which never runs",
        Target.CARRIER,
        ("path",),
    ),
    Call(
        "PUT",
        rf"/containers/{_ID}/archive",
        "fill a new workspace volume through a carrier",
        Target.CARRIER,
        ("path",),
    ),
    Call("GET", r"/networks", "find strangers, and tell an admin of them", query=("filters",)),
    Call("GET", rf"/networks/{_ID}", "observe a member's network", Target.NETWORK),
    Call("POST", r"/networks/create", "make a member's network (bodies.network)"),
    Call(
        "DELETE",
        rf"/networks/{_ID}",
        "remove a network that is not as it must be, or of a runtime that is gone",
        Target.NETWORK,
    ),
    Call(
        "POST",
        rf"/networks/{_ID}/connect",
        "put the edge or the runtime on it, with a fixed address",
        Target.NETWORK,
    ),
    Call("POST", rf"/networks/{_ID}/disconnect", "take an endpoint off it", Target.NETWORK),
    Call("GET", r"/volumes", "find strangers", query=("filters",)),
    Call("POST", r"/volumes/create", "make a workspace volume with our labels (bodies.volume)"),
    Call("GET", rf"/volumes/{_ID}", "is a workspace volume there, and is it ours", Target.VOLUME),
    Call("GET", r"/system/df", "how big is a workspace, before it is copied", query=("type",)),
    Call(
        "DELETE",
        r"/volumes/(?P<name>clawloops-[a-z0-9]+-ws-[a-z0-9]+(-\d+)?)",
        "remove what was in the trash for 7 days",
        Target.VOLUME,
    ),
    Call("GET", r"/images/json", "which images of OpenClaw are there", query=("only_ids", "all")),
    Call("DELETE", rf"/images/{_IMAGE}", "remove one that no workspace uses", Target.IMAGE, ("force", "noprune")),
    Call("GET", rf"/images/{_IMAGE}/json", "is the runtime image there, and are its labels harmless", Target.IMAGE),
)

_VERSION = re.compile(r"^/v([0-9]{1,3})\.([0-9]{1,3})(?=/)")
_RULES = tuple((call.method, re.compile(call.path), call) for call in TABLE)


@dataclass(frozen=True, slots=True)
class Match:
    call: Call
    version: tuple[int, int] | None  # of the API, as the path has it
    bare: str  # the path without it
    span: tuple[int, int]  # where in that the name stands; (0, 0) where the call has none

    @property
    def name(self) -> str:
        """What the call is about, "" where it has no name in its path."""
        return self.bare[slice(*self.span)]

    @property
    def prefix(self) -> str:
        """The version as a path begins with it, "" for none."""
        return "/v{}.{}".format(*self.version) if self.version else ""

    def path(self, full_id: str = "") -> str:
        """The path with version; `full_id`: in the name's place, so that it cannot lead elsewhere by then."""
        start, end = self.span
        return self.prefix + (self.bare[:start] + full_id + self.bare[end:] if full_id else self.bare)


def match(method: str, path: str) -> Match | None:
    """The row that allows this call (path with or without version prefix, without query), or None."""
    if ".." in path or "//" in path:
        return None
    prefix = _VERSION.match(path)
    bare = path[prefix.end() :] if prefix else path
    for verb, rule, call in _RULES:
        if verb == method and (found := rule.fullmatch(bare)):
            version = (int(prefix[1]), int(prefix[2])) if prefix else None
            return Match(call, version, bare, found.span("name") if "name" in rule.groupindex else (0, 0))
    return None
