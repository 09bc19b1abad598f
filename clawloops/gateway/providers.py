"""Asks a backend what it serves, and tries it with a real call before anybody relies on it."""

from __future__ import annotations

import os
from typing import Any

import aiohttp
import orjson

from clawloops.errors import BackendRefused, BackendUnavailable
from clawloops.gateway import answers, headers
from clawloops.gateway.endpoints import ENDPOINTS
from clawloops.gateway.upstreams import LiteLLM, ways
from clawloops.model.provider import Backend, BackendKind

_LIST_LIMIT_S = 15
_CHECK_LIMIT_S = 180  # a local server may have to load the model first
_ANSWER_LIMIT = 4 * 1024 * 1024  # bytes
_CHAT = ENDPOINTS["/v1/chat/completions"]


async def probe(
    session: aiohttp.ClientSession,
    backend: Backend,
    key: str | None,
    *,
    model: str | None,
    litellm_url: str,
    litellm_key: str,
) -> list[str]:
    """The model names that the backend lists; [] when it lists none, as a provider behind LiteLLM does.

    Raises BackendUnavailable when nothing answers there, BackendRefused when the key or the address is wrong.
    """
    match backend.kind:
        case BackendKind.OLLAMA:
            path, list_name, item_name = "/api/tags", "models", "name"
        case BackendKind.OPENAI:
            path, list_name, item_name = "/models", "data", "id"
        case BackendKind.LITELLM:
            return []
    url = backend.url.rstrip("/") + path
    bearer = {"Authorization": f"Bearer {key}"} if key else {}
    hidden = _secrets(key, litellm_key)
    status, raw = await _ask(session, backend, url, body=None, credential=bearer, limit_s=_LIST_LIMIT_S, hidden=hidden)
    if status in (404, 405) and backend.kind is BackendKind.OPENAI:
        return []  # some servers have no list; check() decides
    if status != 200:
        raise _refused(backend, None, status, raw, hidden)
    items = _object(raw).get(list_name)
    if not isinstance(items, list):
        raise BackendRefused(_not_a_backend(backend), status=status)
    return [item[item_name] for item in items if isinstance(item, dict) and isinstance(item.get(item_name), str)]


async def check(
    session: aiohttp.ClientSession,
    backend: Backend,
    key: str | None,
    *,
    model: str,
    litellm_url: str,
    litellm_key: str,
) -> None:
    """Let the backend complete one token. Raises BackendUnavailable or BackendRefused; the text never holds the key."""
    upstream = ways(backend, model, key, _CHAT, LiteLLM(litellm_url, litellm_key))[0]
    hidden = _secrets(key, litellm_key)
    fields: dict[str, Any] = {
        "model": upstream.model,
        "messages": [{"role": "user", "content": "Say yes."}],
        **upstream.extra,
    }
    for limit in ({"max_tokens": 1}, {"max_completion_tokens": 64}):
        body = orjson.dumps({**fields, **limit})
        status, raw = await _ask(
            session,
            backend,
            upstream.url,
            body=body,
            credential=upstream.credential,
            limit_s=_CHECK_LIMIT_S,
            hidden=hidden,
        )
        if status != 400 or b"max_" not in raw:  # reasoning models refuse max_tokens, and one token as too few
            break
    if status != 200:
        raise _refused(backend, model, status, raw, hidden)
    if not isinstance(_object(raw).get("choices"), list):
        raise BackendRefused(_not_a_backend(backend), status=status)


async def _ask(
    session: aiohttp.ClientSession,
    backend: Backend,
    url: str,
    *,
    body: bytes | None,
    credential: dict[str, str],
    limit_s: int,
    hidden: tuple[str, ...],
) -> tuple[int, bytes]:
    try:
        async with session.request(
            "GET" if body is None else "POST",
            url,
            data=body,
            headers=headers.to_upstream({}, credential=credential),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=limit_s, sock_connect=10),
        ) as answer:
            raw = bytearray()
            async for piece in answer.content.iter_any():
                raw += piece
                if len(raw) > _ANSWER_LIMIT:
                    raise BackendRefused(_not_a_backend(backend), status=answer.status)
            return answer.status, bytes(raw)
    except TimeoutError as error:
        raise BackendUnavailable(
            f"'{backend.name}' did not answer within {limit_s} s. Is it still loading a model? Try again later."
        ) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if backend.kind is BackendKind.LITELLM:  # the call ends at LiteLLM; a provider that is down answers through it
            raise BackendUnavailable(
                "LiteLLM, the part of this box that translates for providers, does not answer. It needs about ten "
                "seconds after a start: try again. If it stays so, look at: docker compose logs litellm"
            ) from error
        why = answers.scrub(_why(error), hidden)
        raise BackendUnavailable(
            f"Nothing answers at {backend.url} ({why}). Check the address and that the server runs; "
            "'localhost' there means ClawLoops' own container, so use the machine's address."
        ) from error


def _why(error: Exception) -> str:
    """The operating system's own words where there are any: "Connection refused", "Name or service not known"."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return getattr(cause, "strerror", None) or str(error) or type(error).__name__


def _refused(
    backend: Backend, model: str | None, status: int, raw: bytes, hidden: tuple[str, ...]
) -> BackendRefused | BackendUnavailable:
    words = answers.said(raw, hidden)
    match status:
        case 401 | 403:
            return BackendRefused(
                f"'{backend.name}' refused the key (HTTP {status}). Check that it is whole and still valid.",
                status=status,
            )
        case 404:
            is_openai = backend.kind is BackendKind.OPENAI
            hint = "Check the name, and that the address ends in /v1." if is_openai else "Check the name."
            if model:
                return BackendRefused(
                    f"'{backend.name}' does not know the model {model!r} (HTTP 404). {hint}", status=status
                )
            return BackendRefused(f"'{backend.name}' does not know a list of models (HTTP 404). {hint}", status=status)
        case 502 | 503 | 504:
            text = f"'{backend.name}' is not ready (HTTP {status}). Try again in a minute."
            return BackendUnavailable(f"{text} {words}".rstrip())
        case _:
            text = f"'{backend.name}' refused the call (HTTP {status})"
            return BackendRefused(f"{text}: {words}" if words else text, status=status)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _not_a_backend(backend: Backend) -> str:
    text = f"Something answers at {backend.url or 'LiteLLM'}, but not like a model server."
    is_openai = backend.kind is BackendKind.OPENAI
    return f"{text} An OpenAI-compatible address usually ends in /v1." if is_openai else text


def _secrets(*values: str | None) -> tuple[str, ...]:
    return tuple(value for value in values if value)
