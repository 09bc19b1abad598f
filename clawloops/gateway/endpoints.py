"""The calls that a caller of models may make: each one's dialect, the fields of its body, and how it tells usage.

Fields are those of OpenAI's API reference (chat completions, completions, embeddings, responses), of Anthropic's
(messages, count_tokens) and of Ollama's docs/api.md, and the sampling fields that vLLM, llama.cpp and Ollama add to
OpenAI's. What keeps state with a provider is not among them: behind one key, members would share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Dialect(StrEnum):
    """Whose words a caller speaks, and is answered in."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"


class Usage(StrEnum):
    """Which form an answer tells its tokens in, and what ends its stream."""

    CHAT = "chat"  # OpenAI's `usage` with prompt_tokens; a stream ends with `data: [DONE]`
    RESPONSES = "responses"  # OpenAI's `usage` with input_tokens, in the event response.completed
    MESSAGES = "messages"  # Anthropic's `usage`, in message_start and message_delta; message_stop ends it
    LINES = "lines"  # Ollama's counts beside `"done": true`, in the last of the lines


@dataclass(frozen=True, slots=True)
class Endpoint:
    path: str
    dialect: Dialect
    usage: Usage
    fields: frozenset[str]
    left_out: frozenset[str] = frozenset()  # every tool sends them, and they are the admin's: taken, not passed on
    streams_unasked: bool = False  # a body that says nothing of `stream` asks for one
    longest: tuple[str, ...] = ()  # fields that limit the tokens of its answer, the usual one first; none: it has none


def dialect_of(path: str, *, speaks_anthropic: bool = False) -> Dialect:
    """The dialect that an answer to `path` has to be in, whatever is wrong with the call."""
    if path.startswith("/api/"):
        return Dialect.OLLAMA
    return Dialect.ANTHROPIC if speaks_anthropic or path.startswith("/v1/messages") else Dialect.OPENAI


_SHARED = frozenset(("model", "user", "metadata"))
_SAMPLING = frozenset(
    (
        *("frequency_penalty", "logit_bias", "max_tokens", "min_p", "n", "presence_penalty", "repetition_penalty"),
        *("seed", "stop", "stream", "stream_options", "temperature", "top_k", "top_p"),
    )
)
_CHAT = frozenset(
    (
        *("audio", "chat_template_kwargs", "enable_thinking", "function_call", "functions", "logprobs"),
        *("max_completion_tokens", "messages", "modalities", "parallel_tool_calls", "prediction"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "reasoning_effort"),
        *("response_format", "safety_identifier", "service_tier", "store", "think", "thinking", "tool_choice"),
        *("tool_stream", "tools", "top_logprobs", "verbosity", "web_search_options"),
    )
)
_RESPONSES = frozenset(
    (
        *("client_metadata", "include", "input", "instructions", "max_output_tokens", "max_tool_calls"),
        *("parallel_tool_calls", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning"),
        *("safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text"),
        *("tool_choice", "tools", "top_logprobs", "top_p", "truncation"),
    )
)
_COUNT = frozenset(("messages", "model", "output_config", "system", "thinking", "tool_choice", "tools"))
_MESSAGES = _COUNT | frozenset(
    (
        *("cache_control", "context_management", "max_tokens", "metadata", "output_format", "service_tier"),
        *("stop_sequences", "stream", "temperature", "top_k", "top_p"),
    )
)
_LINES = frozenset(("format", "logprobs", "model", "options", "stream", "think", "top_logprobs"))
_KEPT_LOADED = frozenset(("keep_alive",))

ENDPOINTS: Mapping[str, Endpoint] = {
    each.path: each
    for each in (
        Endpoint(
            "/v1/chat/completions",
            Dialect.OPENAI,
            Usage.CHAT,
            _SHARED | _SAMPLING | _CHAT,
            longest=("max_completion_tokens", "max_tokens"),
        ),
        Endpoint(
            "/v1/completions",
            Dialect.OPENAI,
            Usage.CHAT,
            _SHARED | _SAMPLING | {"best_of", "echo", "logprobs", "prompt", "suffix"},
            longest=("max_tokens",),
        ),
        Endpoint("/v1/embeddings", Dialect.OPENAI, Usage.CHAT, _SHARED | {"dimensions", "encoding_format", "input"}),
        Endpoint(
            "/v1/responses",
            Dialect.OPENAI,
            Usage.RESPONSES,
            _SHARED | _RESPONSES,
            longest=("max_output_tokens",),
        ),
        Endpoint("/v1/messages", Dialect.ANTHROPIC, Usage.MESSAGES, _MESSAGES, longest=("max_tokens",)),
        Endpoint("/v1/messages/count_tokens", Dialect.ANTHROPIC, Usage.MESSAGES, _COUNT),
        Endpoint(
            "/api/chat",
            Dialect.OLLAMA,
            Usage.LINES,
            _LINES | {"messages", "tools"},
            _KEPT_LOADED,
            streams_unasked=True,
            longest=("num_predict",),
        ),
        Endpoint(
            "/api/generate",
            Dialect.OLLAMA,
            Usage.LINES,
            _LINES | {"context", "images", "prompt", "raw", "suffix", "system", "template"},
            _KEPT_LOADED,
            streams_unasked=True,
            longest=("num_predict",),
        ),
        Endpoint(
            "/api/embed",
            Dialect.OLLAMA,
            Usage.LINES,
            frozenset(("dimensions", "input", "model", "options", "truncate")),
            _KEPT_LOADED,
        ),
    )
}

# Fields of /v1/responses that continue what a provider has kept, or go on there without the caller.
STATEFUL = frozenset(("background", "conversation", "previous_response_id", "prompt"))

# Ollama's `options` that say how words are chosen. The others (num_ctx, num_gpu, num_thread, …) decide what a model
# takes of the box, and are the admin's: a caller who changes one makes Ollama load the model anew, for everybody.
SAMPLING_OPTIONS = frozenset(
    (
        *("frequency_penalty", "min_p", "mirostat", "mirostat_eta", "mirostat_tau", "num_predict", "penalize_newline"),
        *("presence_penalty", "repeat_last_n", "repeat_penalty", "seed", "stop", "temperature", "tfs_z", "top_k"),
        *("top_p", "typical_p"),
    )
)
