"""Where models come from: backends, the credentials they need, and the public names members see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BackendKind(StrEnum):
    OLLAMA = "ollama"  # spoken to directly, native address without /v1 (http://ollama:11434)
    OPENAI = "openai"  # any OpenAI-compatible server (vLLM, llama.cpp, LM Studio, OpenAI); address ends in /v1
    LITELLM = "litellm"  # a provider that LiteLLM translates; `provider` is LiteLLM's prefix ("anthropic")


@dataclass(frozen=True, slots=True)
class Backend:
    id: str  # "b" + 16 hex
    name: str
    kind: BackendKind
    url: str  # base address; for LITELLM the provider's own address override, or ""
    provider: str  # LiteLLM's provider prefix; "" for the other kinds
    created_at: int


@dataclass(frozen=True, slots=True)
class Model:
    """A public name and the one target behind it."""

    id: str  # "m" + 16 hex
    name: str  # the public name: what members and runtimes see; unique, matched exactly
    backend_id: str
    upstream: str  # the backend's own name for it
    context_window: int  # tokens
    max_tokens: int  # tokens of one answer
    is_default: bool
    created_at: int


@dataclass(frozen=True, slots=True)
class Target:
    """All the gateway needs for one public name, with the credential already opened (memory only, never logged)."""

    model: Model
    backend: Backend
    key: str | None

    def __repr__(self) -> str:
        key = "set" if self.key else "none"
        return f"Target({self.model.name!r} -> {self.backend.kind}:{self.backend.name!r}, key={key})"
