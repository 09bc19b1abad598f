"""Every call to the Docker Engine that ClawLoops makes. What is not in this table is refused before it is sent.

Paths are those of the Docker Engine API without the version prefix (`/v1.41`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ID = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str  # regular expression over the whole path
    purpose: str


TABLE = (
    Call("GET", r"/version", "agree on the API version"),
    Call("GET", r"/events", "wake the loop"),
    Call("GET", r"/containers/json", "find a runtime's containers, by our labels; find strangers"),
    Call("GET", rf"/containers/{_ID}/json", "observe one of them"),
    Call("POST", r"/containers/create", "make a runtime's container, or a carrier (spec.create_body, carriers.body)"),
    Call("POST", rf"/containers/{_ID}/start", "start it"),
    Call("POST", rf"/containers/{_ID}/kill", "SIGTERM to let it drain; SIGKILL once its drain time is over"),
    Call("POST", rf"/containers/{_ID}/pause", "freeze it while nobody uses it"),
    Call("POST", rf"/containers/{_ID}/unpause", "let it go on"),
    Call("POST", rf"/containers/{_ID}/update", "push a frozen one's memory out to swap, or give its limit back"),
    Call("DELETE", rf"/containers/{_ID}", "remove a container that is down; never its volume"),
    Call("GET", rf"/containers/{_ID}/archive", "read a workspace through a carrier, which never runs"),
    Call("PUT", rf"/containers/{_ID}/archive", "fill a new workspace volume through a carrier"),
    Call("GET", r"/networks", "find strangers, and tell an admin of them"),
    Call("GET", rf"/networks/{_ID}", "observe a member's network"),
    Call("POST", r"/networks/create", "make a member's network (body: networks.create)"),
    Call("DELETE", rf"/networks/{_ID}", "remove a network that is not as it must be, or of a runtime that is gone"),
    Call("POST", rf"/networks/{_ID}/connect", "put the edge or the runtime on it, with a fixed address"),
    Call("POST", rf"/networks/{_ID}/disconnect", "take an endpoint off it"),
    Call("GET", r"/volumes", "find strangers"),
    Call("POST", r"/volumes/create", "make a workspace volume with our labels (body: volumes.ensure)"),
    Call("GET", rf"/volumes/{_ID}", "is a workspace volume there, and is it ours"),
    Call("GET", r"/system/df", "how big is a workspace, before it is copied"),
    Call("DELETE", r"/volumes/clawloops-[a-z0-9]+-ws-[a-z0-9]+(-\d+)?", "remove what was in the trash for 7 days"),
    Call(
        "GET",
        r"/images/[A-Za-z0-9][A-Za-z0-9_./:@-]*/json",
        "is the runtime image there, and are its labels harmless",
    ),
)

_VERSION = re.compile(r"^/v\d+\.\d+(?=/)")
_RULES = tuple((call.method, re.compile(call.path), call) for call in TABLE)


def match(method: str, path: str) -> Call | None:
    """The row that allows this call (path with or without version prefix, without query), or None."""
    if ".." in path or "//" in path:
        return None
    bare = _VERSION.sub("", path)
    return next((call for verb, rule, call in _RULES if verb == method and rule.fullmatch(bare)), None)
