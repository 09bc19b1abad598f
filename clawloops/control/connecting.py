"""What an admin says of a backend, made into one: its address, its usual settings, the names of its models."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from yarl import URL

from clawloops.clock import now_ms
from clawloops.control.addresses import address_of
from clawloops.errors import BadInput
from clawloops.model.provider import Backend, BackendKind, Model, Place

MAX_LISTED = 25
MAX_TOKENS = 8192
WINDOW = {BackendKind.OLLAMA: 32_768, BackendKind.OPENAI: 128_000, BackendKind.LITELLM: 128_000}
_SLOTS = {BackendKind.OLLAMA: 1, BackendKind.OPENAI: 0, BackendKind.LITELLM: 0}
_PROVIDER = re.compile(r"^[a-z0-9_]{2,40}$")


@dataclass(frozen=True, slots=True)
class BundledParts:
    """Addresses of the parts that this box brings along; "" where one was left out."""

    ollama_url: str
    litellm_url: str
    litellm_key: str


def backend_of(kind: BackendKind, bundled: BundledParts, *, name: str, url: str, provider: str) -> Backend:
    """A new backend, not yet checked. Raises BadInput with the field that is wrong."""
    provider = _provider(kind, provider)
    return Backend(
        id="b" + secrets.token_hex(8),
        name=name.strip()[:60] or _default_name(kind, provider),
        kind=kind,
        url=_address(kind, url.strip(), bundled),
        provider=provider,
        created_at=now_ms(),
        slots=_SLOTS[kind],
    )


def chosen(listed: list[str]) -> list[str]:
    """The models to take of those that a backend lists. Raises BadInput when none are listed, or too many to take."""
    if not listed:
        raise BadInput("This backend lists no model; name the models you want.", field="models")
    if len(listed) > MAX_LISTED:
        raise BadInput(
            f"This backend lists {len(listed)} models; name those you want, for example {', '.join(listed[:3])}.",
            field="models",
        )
    return listed


def models_of(backend: Backend, wanted: list[str], *, first: bool) -> list[Model]:
    """A public name for each of them; `first`: the first one is everybody's default."""
    return [
        Model(
            id="m" + secrets.token_hex(8),
            name=each,
            places=(Place(backend.id, each),),
            context_window=WINDOW[backend.kind],
            max_tokens=MAX_TOKENS,
            is_default=first and index == 0,
            created_at=now_ms(),
        )
        for index, each in enumerate(wanted)
    ]


def _address(kind: BackendKind, url: str, bundled: BundledParts) -> str:
    match kind:
        case BackendKind.OLLAMA if not url:
            if not bundled.ollama_url:
                raise BadInput("This box runs no Ollama of its own. Give the address of one.", field="url")
            return bundled.ollama_url
        case BackendKind.OLLAMA:
            return address_of(url).removesuffix("/v1")
        case BackendKind.OPENAI:
            address = address_of(url)
            return address if URL(address).path not in ("", "/") else f"{address}/v1"
        case BackendKind.LITELLM:
            if not bundled.litellm_url:
                raise BadInput("LiteLLM is not running on this box; run ./install.sh again.", field="provider")
            return address_of(url) if url else ""


def _provider(kind: BackendKind, provider: str) -> str:
    if kind is not BackendKind.LITELLM:
        return ""
    provider = provider.strip().lower()
    if not _PROVIDER.match(provider):
        raise BadInput(
            "Give LiteLLM's name of the provider, for example anthropic, gemini or mistral.", field="provider"
        )
    return provider


def _default_name(kind: BackendKind, provider: str) -> str:
    return {BackendKind.OLLAMA: "Ollama", BackendKind.OPENAI: "OpenAI-compatible", BackendKind.LITELLM: provider}[kind]
