"""Who a request is to OpenClaw: headers that only ClawLoops sets (its docs/gateway/trusted-proxy-auth.md)."""

from __future__ import annotations

USER_HEADER = "X-Clawloops-User"
SCOPES_HEADER = "X-OpenClaw-Scopes"
SCOPES = ",".join(
    f"operator.{each}"
    for each in ("admin", "read", "write", "approvals", "questions", "pairing", "talk", "talk.secrets")
)
"""What the owner of a runtime may do in it: everything. The header only caps, and on a WebSocket OpenClaw compares it
name by name: with `operator.admin` alone a browser's device would be left with no scope at all."""


def identity_headers(owner: str) -> dict[str, str]:
    """`owner`: the user id of the workspace's member, also where an admin inspects it (docs/decisions/0038)."""
    return {USER_HEADER: owner, SCOPES_HEADER: SCOPES}
