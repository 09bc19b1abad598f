"""The parts of OpenClaw's configuration that a member's connections make: its MCP servers and its channel.

The format is OpenClaw's (`docs/cli/mcp/transports.md` and `docs/channels/telegram/access-control.md` inside the npm
package); tests/orchestrator/test_connections.py tries it with the pinned version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from clawloops.model.connection import BOT_TOKEN, Connection, Kind

_SUBSTITUTED = re.compile(r"(\$\{[A-Z_][A-Z0-9_]*\})")


def mcp_servers(connections: Sequence[Connection]) -> dict[str, Any]:
    """By name."""
    return {each.name: _server(each) for each in connections if each.kind is not Kind.TELEGRAM}


def channels(connections: Sequence[Connection], *, proxy: str) -> dict[str, Any]:
    """By OpenClaw's id of each. `proxy`: the way to the internet, by which also what was sent along is fetched."""
    return {each.kind.value: _telegram(each, proxy) for each in connections if each.kind is Kind.TELEGRAM}


def _server(connection: Connection) -> dict[str, Any]:
    secrets = {name: _literal(value) for name, value in (connection.secrets or {}).items()}
    server: dict[str, Any] = {"transport": connection.kind.value}
    if connection.kind.is_web:
        return {**server, "url": _literal(connection.target), **({"headers": secrets} if secrets else {})}
    command, *arguments = map(_literal, connection.words)
    return {**server, "command": command, "args": arguments, **({"env": secrets} if secrets else {})}


def _telegram(connection: Connection, proxy: str) -> dict[str, Any]:
    """Conversations with single people alone. Without anybody to let in, the bot tells who writes their number."""
    return {
        "enabled": True,
        "botToken": (connection.secrets or {}).get(BOT_TOKEN, ""),
        "dmPolicy": "allowlist" if connection.words else "pairing",
        **({"allowFrom": connection.words} if connection.words else {}),
        "groupPolicy": "disabled",
        "configWrites": False,
        "proxy": proxy,
    }


def _literal(text: str) -> str:
    """OpenClaw puts the environment's `NAME` in place of `${NAME}` (its docs/gateway/config-secrets-env.md)."""
    return _SUBSTITUTED.sub(r"$\1", text)
