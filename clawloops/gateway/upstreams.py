"""How a target is called: the address, the key and the fields that its kind of backend wants."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawloops.errors import BackendUnavailable
from clawloops.model.provider import Backend, BackendKind


@dataclass(frozen=True, slots=True)
class Upstream:
    """One way to a model, without the body. The key is in it: never logged."""

    url: str
    model: str  # what the backend calls the model
    bearer: str | None = field(repr=False)
    extra: dict[str, str] = field(repr=False)  # fields to add to the body


def upstream_of(
    backend: Backend, model: str, key: str | None, path: str, *, litellm_url: str, litellm_key: str
) -> Upstream:
    """The way to `model` (the backend's own name) for `path` ("/v1/…"). Raises BackendUnavailable without a LiteLLM."""
    address = backend.url.rstrip("/")
    match backend.kind:
        case BackendKind.OLLAMA:
            return Upstream(address + path, model, key, {})
        case BackendKind.OPENAI:
            return Upstream(address + path.removeprefix("/v1"), model, key, {})
        case BackendKind.LITELLM:
            if not litellm_url:
                raise BackendUnavailable(
                    f"The model backend '{backend.name}' needs LiteLLM, which this installation was made without. "
                    "Ask your admin to run ./install.sh again with LiteLLM."
                )
            extra = {"api_key": key} if key else {}
            if address:
                extra["api_base"] = address
            return Upstream(litellm_url.rstrip("/") + path, f"{backend.provider}/{model}", litellm_key, extra)
