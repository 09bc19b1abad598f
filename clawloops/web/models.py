"""Model backends: connect (checked with a real call), their keys and how they do, disconnect."""

from __future__ import annotations

import re

from aiohttp import web

from clawloops.errors import BadInput
from clawloops.model.provider import BackendKind
from clawloops.web.context import BACKENDS, GROUPS, LEDGER, MODELS, SENT, USER
from clawloops.web.fields import number
from clawloops.web.pages import render

PROVIDERS = (
    "anthropic", "openai", "gemini", "mistral", "groq", "deepseek", "xai", "openrouter", "together_ai", "cohere",
)  # fmt: skip
"""Suggestions only: any provider that LiteLLM knows may be typed."""

KINDS = {
    BackendKind.OLLAMA: "Ollama",
    BackendKind.OPENAI: "OpenAI-compatible",
    BackendKind.LITELLM: "Provider through LiteLLM",
}


async def show(request: web.Request) -> web.Response:
    backends = request.app[BACKENDS]
    shelves = await backends.shelves()
    return render(
        request,
        "models.html",
        shelves=shelves,
        titles={each.backend.id: each.backend.name for each in shelves},
        names=request.app[MODELS].names(),
        groups={each.id: each for each in await request.app[GROUPS].all()},
        is_aside=backends.key_is_aside,
        paces=await request.app[LEDGER].paces(),
        kinds=KINDS,
        providers=PROVIDERS,
    )


async def connect(request: web.Request) -> web.Response:
    await add(request)
    raise web.HTTPSeeOther("/models")


async def add(request: web.Request) -> None:
    """Connect what the form of `partials/connect.html` tells of."""
    sent = request[SENT]
    try:
        kind = BackendKind(sent.get("kind", ""))
    except ValueError:
        raise BadInput("Choose what kind of backend this is.", field="kind") from None
    await request.app[BACKENDS].add(
        kind=kind,
        name=sent.get("name", ""),
        url=sent.get("url", ""),
        provider=sent.get("provider", ""),
        key=sent.get("key", ""),
        names=re.split(r"[\s,]+", sent.get("models", "").strip()),
        by=request[USER],
    )


async def disconnect(request: web.Request) -> web.Response:
    await request.app[BACKENDS].remove(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/models")


async def set_load(request: web.Request) -> web.Response:
    sent, backend_id = request[SENT], request.match_info["id"]
    slots = number(sent.get("slots", "").strip(), "slots", digits=4, refusal="Give a number; 0 lets all calls through.")
    watts = number(sent.get("watts", "").strip() or "0", "watts", digits=6, refusal="Give a number of watts.")
    memory = number(sent.get("memory", "").strip() or "0", "memory", digits=9, refusal="Give a number of MiB.")
    await request.app[BACKENDS].set_load(backend_id, slots=slots, watts=watts, memory_mb=memory, by=request[USER])
    raise web.HTTPSeeOther(f"/models#{backend_id}")


async def add_key(request: web.Request) -> web.Response:
    sent, backend_id = request[SENT], request.match_info["id"]
    await request.app[BACKENDS].add_key(
        backend_id, sent.get("key", ""), name=sent.get("note", ""), group_id=sent.get("group", ""), by=request[USER]
    )
    raise web.HTTPSeeOther(f"/models#{backend_id}")


async def remove_key(request: web.Request) -> web.Response:
    backend_id = request.match_info["id"]
    await request.app[BACKENDS].remove_key(backend_id, request.match_info["key"], by=request[USER])
    raise web.HTTPSeeOther(f"/models#{backend_id}")
