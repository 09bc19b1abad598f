"""A member's keys for their own tools: made, shown once with what to write where, and revoked."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from clawloops.clock import now_ms
from clawloops.web.context import ACCOUNTS, KEYS, MODELS, SENT, SITE, USER
from clawloops.web.fields import number
from clawloops.web.pages import render

ENDS = ((0, "Never"), (30, "After 30 days"), (90, "After 90 days"), (365, "After a year"))  # days


@dataclass(frozen=True, slots=True)
class Tool:
    """How a well-known tool is told of this box."""

    name: str
    where: str  # what the lines are, or where they go
    lines: str


async def show(request: web.Request, *, token: str = "") -> web.Response:
    app, models = request.app, request.app[MODELS].names_for(request[USER])
    return render(
        request,
        "keys.html",
        token_made=token,
        keys=await app[KEYS].of(request[USER]),
        models=models,
        has_names=bool(app[MODELS].names()),
        owner=app[ACCOUNTS].owner,
        ends=ENDS,
        now=now_ms(),
        tools=tools(app[SITE].origin, token or "YOUR_KEY", models[0].name if models else "MODEL"),
    )


async def make(request: web.Request) -> web.Response:
    """The key is in this answer and nowhere else: only its hash is kept."""
    sent = request[SENT]
    days = number(sent.get("days", "0"), "days", digits=4, refusal="Choose one of the list.")
    _, token = await request.app[KEYS].make(
        name=sent.get("name", ""), models=sent.getall("models", []), days=days, by=request[USER]
    )
    return await show(request, token=token)


async def revoke(request: web.Request) -> web.Response:
    await request.app[KEYS].revoke(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/keys")


def tools(origin: str, token: str, model: str) -> list[Tool]:
    """What to write where, for one key and one model."""
    return [
        Tool(
            "OpenAI's SDKs, and most tools",
            "In the environment:",
            f"export OPENAI_BASE_URL={origin}/v1\nexport OPENAI_API_KEY={token}",
        ),
        Tool(
            "Claude Code, and Anthropic's SDKs",
            "In the environment:",
            f"export ANTHROPIC_BASE_URL={origin}\nexport ANTHROPIC_AUTH_TOKEN={token}\nexport ANTHROPIC_MODEL={model}",
        ),
        Tool(
            "Codex CLI",
            "In ~/.codex/config.toml, with CLAWLOOPS_KEY set to the key:",
            f'model = "{model}"\nmodel_provider = "clawloops"\n\n[model_providers.clawloops]\nname = "ClawLoops"\n'
            f'base_url = "{origin}/v1"\nenv_key = "CLAWLOOPS_KEY"\nwire_api = "responses"',
        ),
        Tool(
            "Continue",
            "In ~/.continue/config.yaml:",
            f"models:\n  - name: {model}\n    provider: openai\n    model: {model}\n    apiBase: {origin}/v1\n"
            f"    apiKey: {token}",
        ),
        Tool(
            "curl",
            "To see that it works:",
            f"curl {origin}/v1/chat/completions -H 'Authorization: Bearer {token}' \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            f'  -d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}\'',
        ),
    ]
