"""OpenClaw's configuration file as a pure function of a runtime, the install and the model list.

The format is OpenClaw's (`docs/gateway/configuration-reference.md` inside the npm package); every key here was tried
with the pinned version, and a change of version checks them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from clawloops.model.connection import Connection
from clawloops.model.provider import Model
from clawloops.model.runtime import Runtime
from clawloops.runtimes import names
from clawloops.runtimes.connections import channels, mcp_servers
from clawloops.runtimes.spec import GATEWAY_HOST, PORT, SECRET_DIR, Install

CONTROL_USER = "clawloops-control"  # the control plane itself, when it asks a runtime whether it is idle
TOKEN_FILE = "model-token"  # noqa: S105
CONTROL_UI = "/opt/openclaw/node_modules/openclaw/dist/control-ui"  # inside the image; images/openclaw/Dockerfile

_SECRET_FIELDS = frozenset({"token", "botToken"})
_SECRET_MAPS = frozenset({"headers", "env"})


def render(
    runtime: Runtime,
    install: Install,
    models: Sequence[Model],
    connections: Sequence[Connection] = (),
    *,
    shut_out: bool = False,
) -> dict[str, Any]:
    """The configuration. `models` may be empty: OpenClaw boots without one and gets the list while it runs.

    `connections`: its owner's, opened. `shut_out`: its owner may not use it now. OpenClaw ends their live sockets about
    a second after it has read that.
    """
    used = [each for each in connections if each.enabled and each.secrets is not None]
    servers = mcp_servers(used)
    told = channels(used, proxy=f"http://{GATEWAY_HOST}:{install.egress_port}")
    config: dict[str, Any] = {
        "gateway": _gateway(runtime, install, [CONTROL_USER] if shut_out else [runtime.owner, CONTROL_USER]),
        "secrets": {
            "providers": {
                "clawloops": {"source": "file", "path": f"{SECRET_DIR}/{TOKEN_FILE}", "mode": "singleValue"},
            }
        },
        "models": {
            "mode": "replace",
            "catalogRefresh": {"enabled": False},
            "providers": {
                "clawloops": {
                    "baseUrl": f"http://{GATEWAY_HOST}:{install.gateway_port}/v1",
                    "api": "openai-completions",
                    "apiKey": {"source": "file", "provider": "clawloops", "id": "value"},
                    "models": [_model(model) for model in models],
                }
            },
        },
        "plugins": {
            "allow": ["memory-core", "canvas", "device-pair", "admin-http-rpc", *told],
            "entries": {"admin-http-rpc": {"enabled": True}},
        },
        # The proxy looks names up, and decides: a runtime has no resolver that knows the internet.
        "tools": {"web": {"fetch": {"useTrustedEnvProxy": True}}},
        "browser": {"enabled": False},
        "discovery": {"mdns": {"mode": "off"}},
        "update": {"checkOnStart": False},
        "telemetry": {"enabled": False},
    }
    if servers:
        config["mcp"] = {"servers": servers}
    if told:
        config["channels"] = told
    if default := _default(runtime, models):
        config["agents"] = {"defaults": {"model": {"primary": f"clawloops/{default.name}"}}}
    if runtime.hook_hash is not None:
        # Not the caller's token, which web/webhook.py checks and replaces: this one opens nothing from outside.
        config["hooks"] = {"enabled": True, "path": "/hooks", "token": runtime.hook_hash.hex()}
    return config


def text(config: dict[str, Any]) -> str:
    """The bytes of the file: stable for equal configurations, so that a difference is a change."""
    return json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def secrets_in(config: object, *, under: str = "") -> Iterator[str]:
    """Whatever opens something: tokens, and all that MCP servers are sent (`headers`) or started with (`env`)."""
    match config:
        case dict():
            for name, value in config.items():
                yield from secrets_in(value, under=under if under in _SECRET_MAPS else str(name))
        case list():
            for each in config:
                yield from secrets_in(each, under=under)
        case str() if under == "url":
            yield from (value for _, value in parse_qsl(urlsplit(config).query))
        case str() if under in _SECRET_MAPS or under in _SECRET_FIELDS:
            yield from config.split()  # of "Bearer …" the second word


def _gateway(runtime: Runtime, install: Install, people: list[str]) -> dict[str, Any]:
    gateway: dict[str, Any] = {
        "mode": "local",
        "bind": "lan",
        "port": PORT,
        "trustedProxies": [names.addresses(runtime.subnet).edge],
        "auth": {
            "mode": "trusted-proxy",
            "identityScopes": {who: ["operator.admin"] for who in people},
            "trustedProxy": {
                "userHeader": "x-clawloops-user",
                "requiredHeaders": ["x-forwarded-proto", "x-forwarded-host"],
                "allowUsers": people,
                "deviceAutoApprove": {"enabled": True},
            },
        },
        "controlUi": {
            "root": CONTROL_UI,
            "allowedOrigins": [install.origin(runtime.slug)],
            "communityInvite": False,
            "automaticallyFetchFavicons": False,
        },
        "terminal": {"enabled": False},
        "nodes": {"pairing": {"autoApproveLocal": False, "sshVerify": False}},
    }
    if install.scheme == "https":  # OpenClaw refuses a publicOrigin of plain http with a port
        gateway["publicOrigin"] = install.origin(runtime.slug)
    return gateway


def _default(runtime: Runtime, models: Sequence[Model]) -> Model | None:
    """The one that its member has chosen, while it is open to them; else the box's, else any."""
    chosen = (each for each in models if each.id == runtime.model)
    usual = (each for each in models if each.is_default)
    return next(chosen, None) or next(usual, None) or next(iter(models), None)


def _model(model: Model) -> dict[str, Any]:
    return {
        "id": model.name,
        "name": model.name,
        "input": ["text"],
        "contextWindow": model.context_window,
        "maxTokens": model.max_tokens,
        "compat": {"supportsUsageInStreaming": True, "maxTokensField": "max_tokens"},
    }
