"""Model backends and the names that members see: add (checked with a real call), make default, remove."""

from __future__ import annotations

import re

from aiohttp import web

from clawloops.errors import BadInput
from clawloops.model.provider import BackendKind
from clawloops.web.context import MODELS, SENT, USER
from clawloops.web.pages import render

PROVIDERS = (
    "anthropic", "openai", "gemini", "mistral", "groq", "deepseek", "xai", "openrouter", "together_ai", "cohere",
)  # fmt: skip
"""Suggestions only: any provider that LiteLLM knows may be typed."""


async def show(request: web.Request) -> web.Response:
    models = request.app[MODELS].names()
    backends = await request.app[MODELS].backends()
    return render(
        request,
        "models.html",
        shelves=[(backend, [each for each in models if each.backend_id == backend.id]) for backend in backends],
        providers=PROVIDERS,
    )


async def add(request: web.Request) -> web.Response:
    sent = request[SENT]
    try:
        kind = BackendKind(sent.get("kind", ""))
    except ValueError:
        raise BadInput("Choose what kind of backend this is.", field="kind") from None
    await request.app[MODELS].add_backend(
        kind=kind,
        name=sent.get("name", ""),
        url=sent.get("url", ""),
        provider=sent.get("provider", ""),
        key=sent.get("key", ""),
        names=re.split(r"[\s,]+", sent.get("models", "").strip()),
        by=request[USER],
    )
    raise web.HTTPSeeOther("/models")


async def remove(request: web.Request) -> web.Response:
    await request.app[MODELS].remove_backend(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/models")


async def set_default(request: web.Request) -> web.Response:
    await request.app[MODELS].set_default(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/models")
