"""Which files of a workspace may go to another member, or into a file: the work, and nothing that acts as its owner.

Everything that OpenClaw keeps about itself is in `.openclaw/state/openclaw.sqlite` (2026.9.6): its device identity with
the private key, paired devices and their tokens, the gateway's owner lease (which would keep a new host name out for up
to 300 s), OAuth tokens of MCP servers, stored secrets, channel accounts, push subscriptions, scheduled jobs. It makes a
new one at its next start, and finds the conversations again, which are in `agents/<agent>/agent/openclaw-agent.sqlite`.
"""

from __future__ import annotations

_STATE = ".openclaw/"
_PRIVATE = (
    ".openclaw/state",
    ".openclaw/credentials",
    ".openclaw/identity",
    ".openclaw/devices",
    ".openclaw/nodes",
    ".openclaw/tmp",
    ".openclaw/config-journal-fingerprint.key",
    ".openclaw/secrets.json",
    ".openclaw/.env",
    # What people and their tools keep in a home folder to act in their name elsewhere.
    ".aws",
    ".azure",
    ".cache",
    ".codex",
    ".config",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh",
)
_PRIVATE_NAMES = ("auth-profiles.json", "auth.json", "codex-home")  # in an agent's own folder


def may_leave(path: str) -> bool:
    """Whether this path, relative to the workspace, comes along to another member or into a file."""
    if any(path == each or path.startswith(f"{each}/") for each in _PRIVATE):
        return False
    if path.endswith(("_history", ".gateway.lock")) and "/" not in path:
        return False
    return not (path.startswith(f"{_STATE}agents/") and any(part in _PRIVATE_NAMES for part in path.split("/")))
