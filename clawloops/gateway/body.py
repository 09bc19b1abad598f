"""The forwarded body: rebuilt from a list of known fields, so that nothing a caller adds can redirect a call.

Fields are those of OpenAI's API reference (chat completions, completions, embeddings) and the sampling fields that
vLLM, llama.cpp and Ollama add to them. A field outside the list is refused by name, never dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from clawloops.errors import BadInput

_SHARED = frozenset(("model", "user", "metadata"))
_SAMPLING = frozenset(
    (
        *("frequency_penalty", "logit_bias", "max_tokens", "min_p", "n", "presence_penalty", "repetition_penalty"),
        *("seed", "stop", "stream", "stream_options", "temperature", "top_k", "top_p"),
    )
)
_FIELDS: Mapping[str, frozenset[str]] = {
    "/v1/chat/completions": _SHARED
    | _SAMPLING
    | frozenset(
        (
            *("audio", "chat_template_kwargs", "enable_thinking", "function_call", "functions", "logprobs"),
            *("max_completion_tokens", "messages", "modalities", "parallel_tool_calls", "prediction"),
            *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "reasoning_effort"),
            *("response_format", "safety_identifier", "service_tier", "store", "think", "thinking", "tool_choice"),
            *("tool_stream", "tools", "top_logprobs", "verbosity", "web_search_options"),
        )
    ),
    "/v1/completions": _SHARED | _SAMPLING | frozenset(("best_of", "echo", "logprobs", "prompt", "suffix")),
    "/v1/embeddings": _SHARED | frozenset(("dimensions", "encoding_format", "input")),
}
PATHS = tuple(_FIELDS)

# Words that make an unknown field look like an attempt to bring one's own key, address or identity (security.md, 18).
_CREDENTIAL = (
    *("key", "token", "secret", "credential", "auth", "password", "header", "base", "url", "endpoint", "host"),
    *("organization", "project", "user_config", "extra_body", "model_list", "aws", "vertex", "azure", "fallbacks"),
)


@dataclass(frozen=True, slots=True)
class Body:
    """A call that may be forwarded, once its `model` is known to be allowed."""

    model: str  # the public name that the caller asked for
    fields: dict[str, Any]
    stream: bool
    hide_usage: bool  # we ask for the usage of a stream, and the caller did not

    def forwarded(self, model: str, extra: Mapping[str, str]) -> bytes:
        """The JSON for the upstream, with its own name for the model and `extra` fields of the gateway's own.

        Raises BadInput when it is nested deeper than can be written.
        """
        fields = {**self.fields, "model": model, **extra}
        if self.stream:
            fields["stream_options"] = {**(self.fields.get("stream_options") or {}), "include_usage": True}
        try:
            return orjson.dumps(fields)
        except orjson.JSONEncodeError as error:
            raise BadInput("The body is nested too deeply; 250 levels are the most.") from error


def rebuild(path: str, raw: bytes) -> Body:
    """Read the body of a call to `path` (one of PATHS). Raises BadInput that names the field.

    Parsed once and written anew: of duplicate keys only the value that was checked goes on.
    """
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"The body is not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadInput("The body must be a JSON object.")
    _refuse_unknown(path, fields)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise BadInput("'model' must be one public model name; GET /v1/models lists them.", field="model")
    stream = fields.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BadInput("'stream' must be true or false.", field="stream")
    options = fields.get("stream_options")
    if options is not None and (not isinstance(options, dict) or not options.keys() <= _STREAM_OPTIONS):
        raise BadInput("'stream_options' may hold include_usage and include_obfuscation.", field="stream_options")
    _refuse_remote(fields)
    asked = bool(options and options.get("include_usage"))
    return Body(model=model, fields=fields, stream=bool(stream), hide_usage=bool(stream) and not asked)


_STREAM_OPTIONS = frozenset(("include_usage", "include_obfuscation"))


def _refuse_unknown(path: str, fields: dict[str, Any]) -> None:
    unknown = fields.keys() - _FIELDS[path]
    if not unknown:
        return
    name = min(unknown)
    for field in sorted(unknown):
        if any(word in field.lower() for word in _CREDENTIAL):
            raise BadInput(
                f"'{field[:100]}' is not allowed: keys, addresses and headers of model backends are set by the admin.",
                field=field[:100],
            )
    raise BadInput(f"Unknown field '{name[:100]}' for {path}; leave it out.", field=name[:100])


def _refuse_remote(fields: dict[str, Any]) -> None:
    """Refuse what makes a backend or LiteLLM fetch an address: it would be a runtime's way into their network."""
    messages = fields.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and _has_address(content):
            raise BadInput(
                "Images and files must be sent themselves (as a data: URL), not as an address.", field="messages"
            )
    tools = fields.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and (tool.get("type") == "mcp" or tool.keys() & _TOOL_CREDENTIALS):
            raise BadInput("Tools that a backend would call itself are not allowed.", field="tools")
    metadata = fields.get("metadata")
    if metadata is not None and not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise BadInput("'metadata' must be an object of texts.", field="metadata")


_TOOL_CREDENTIALS = frozenset(("server_url", "headers", "authorization", "api_key", "api_base"))


def _has_address(content: list[object]) -> bool:
    """Whether a text anywhere in the content parts, but for what the model is to read, begins like an address."""
    left: list[object] = [content]  # a stack of our own: the nesting is the caller's
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(each for name, each in value.items() if name not in _READ_BY_MODEL)
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, str) and _ADDRESS.match(value):
            return True
    return False


_READ_BY_MODEL = frozenset(("text", "refusal", "thinking"))
_ADDRESS = re.compile(r"\s*(?!data:)(file:|[a-z][a-z0-9+.-]{0,31}:?//|//)", re.IGNORECASE)
