"""Who a request is to OpenClaw: headers that only ClawLoops sets (its docs/gateway/trusted-proxy-auth.md)."""

from __future__ import annotations

from clawloops.model.account import User

USER_HEADER = "X-Clawloops-User"
SCOPES_HEADER = "X-OpenClaw-Scopes"
SCOPES = ",".join(
    f"operator.{each}"
    for each in ("admin", "read", "write", "approvals", "questions", "pairing", "talk", "talk.secrets")
)
"""What the owner of a runtime may do in it: everything. The header only caps, and on a WebSocket OpenClaw compares it
name by name: with `operator.admin` alone a browser's device would be left with no scope at all."""


def identity_headers(user: User) -> dict[str, str]:
    return {USER_HEADER: user.id, SCOPES_HEADER: SCOPES}
