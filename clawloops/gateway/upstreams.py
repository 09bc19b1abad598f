"""How a target is called: the address, the key and the fields that its kind of backend wants."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawloops.errors import BackendUnavailable, BadInput
from clawloops.gateway.endpoints import Dialect, Endpoint
from clawloops.model.provider import Backend, BackendKind

ANTHROPIC = "anthropic"  # LiteLLM's name of the provider whose own dialect we speak ourselves
_ANTHROPIC_URL = "https://api.anthropic.com"
_ANTHROPIC_VERSION = "2023-06-01"
_CHAT_ONLY = "custom_openai"  # LiteLLM's name of a server of which it asks nothing but chat completions


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """Where the bundled LiteLLM answers; "" without one."""

    url: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One way to a model, without the body. The key is in it: never logged."""

    url: str
    model: str  # what the backend calls the model
    credential: dict[str, str] = field(repr=False)  # header fields
    extra: dict[str, str] = field(default_factory=dict, repr=False)  # fields to add to the body


def ways(backend: Backend, model: str, key: str | None, endpoint: Endpoint, litellm: LiteLLM) -> list[Upstream]:
    """The ways to `model` (the backend's own name), the direct one first; a later one is for when that is a 404.

    Raises BackendUnavailable without a LiteLLM where one is needed, BadInput for a dialect that nobody translates.
    """
    address = backend.url.rstrip("/")
    match backend.kind:
        case BackendKind.OLLAMA:
            direct = Upstream(address + endpoint.path, model, _bearer(key))
            return [direct, *_around(litellm, endpoint, model, key, f"{address}/v1")]
        case _ if endpoint.dialect is Dialect.OLLAMA:
            raise BadInput(
                f"'{backend.name}' is no Ollama, so this model is not reached by {endpoint.path}. "
                "Use OpenAI's /v1/chat/completions or Anthropic's /v1/messages.",
                field="model",
            )
        case BackendKind.OPENAI:
            direct = Upstream(address + endpoint.path.removeprefix("/v1"), model, _bearer(key))
            return [direct, *_around(litellm, endpoint, model, key, address)]
        case BackendKind.LITELLM if backend.provider == ANTHROPIC and endpoint.dialect is Dialect.ANTHROPIC:
            header = {"x-api-key": key or "", "anthropic-version": _ANTHROPIC_VERSION}
            return [Upstream((address or _ANTHROPIC_URL) + endpoint.path, model, header)]
        case BackendKind.LITELLM:
            if not litellm.url:
                raise BackendUnavailable(
                    f"The model backend '{backend.name}' needs LiteLLM, which this installation was made without. "
                    "Ask your admin to run ./install.sh again with LiteLLM."
                )
            return [_translated(litellm, endpoint, f"{backend.provider}/{model}", key, address)]


# OpenAI itself, Ollama, vLLM, llama.cpp and LM Studio have some or all of them; others know chat completions only.
_NOT_EVERYWHERE = frozenset(("/v1/responses", "/v1/messages", "/v1/messages/count_tokens"))


def _around(litellm: LiteLLM, endpoint: Endpoint, model: str, key: str | None, address: str) -> list[Upstream]:
    """The way to a server at `address` that may know chat completions only."""
    if endpoint.path not in _NOT_EVERYWHERE or not litellm.url:
        return []
    return [_translated(litellm, endpoint, f"{_CHAT_ONLY}/{model}", key, address)]


def limit_in(backend: Backend, endpoint: Endpoint) -> str:
    """The field in which a backend heeds a limit of its answer; "" for a call that makes none."""
    if not endpoint.longest:
        return ""
    return endpoint.longest[-1 if backend.kind is BackendKind.OLLAMA else 0]  # it knows no max_completion_tokens


def _translated(litellm: LiteLLM, endpoint: Endpoint, model: str, key: str | None, address: str) -> Upstream:
    extra = {"api_key": key} if key else {}
    if address:
        extra["api_base"] = address
    return Upstream(litellm.url.rstrip("/") + endpoint.path, model, _bearer(litellm.key), extra)


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
