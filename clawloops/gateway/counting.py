"""How each form of answer tells its usage. Pure.

Sources: `usage` in OpenAI's API reference (chat completions; responses) and in Anthropic's, `prompt_eval_count` and
`eval_count` in Ollama's docs/api.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clawloops.gateway.endpoints import Usage
from clawloops.model.usage import Tokens

Told = dict[str, Any]
"""A usage object as an answer has it."""


def tokens_of(usage: Usage, told: Told) -> Tokens:
    """What is absent or not a count is 0."""
    match usage:
        case Usage.CHAT:
            return Tokens(
                input=_count(told, "prompt_tokens"),
                output=_count(told, "completion_tokens"),
                cached=_count(told.get("prompt_tokens_details"), "cached_tokens"),
                reasoning=_count(told.get("completion_tokens_details"), "reasoning_tokens"),
            )
        case Usage.RESPONSES:
            return Tokens(
                input=_count(told, "input_tokens"),
                output=_count(told, "output_tokens"),
                cached=_count(told.get("input_tokens_details"), "cached_tokens"),
                reasoning=_count(told.get("output_tokens_details"), "reasoning_tokens"),
            )
        case Usage.MESSAGES:  # its input_tokens are those that came from no cache and went into none
            cached = _count(told, "cache_read_input_tokens")
            return Tokens(
                input=_count(told, "input_tokens") + _count(told, "cache_creation_input_tokens") + cached,
                output=_count(told, "output_tokens"),
                cached=cached,
            )
        case Usage.LINES:
            return Tokens(input=_count(told, "prompt_eval_count"), output=_count(told, "eval_count"))


def told_in(usage: Usage, answer: object) -> Told | None:
    """The usage object of a whole answer."""
    told = answer if usage is Usage.LINES else answer.get("usage") if isinstance(answer, dict) else None
    return told if isinstance(told, dict) else None


@dataclass(frozen=True, slots=True)
class Tongue:
    """How a stream is read on its way: only events with one of the marks are looked into."""

    marks: tuple[bytes, ...]
    word: bytes  # as often as about one token is sent
    hear: Callable[[dict[str, Any]], tuple[Told | None, bool]]  # what one event tells, and whether it is the last one
    lines: bool = False  # a line is an event; else they are server-sent events


def _chat(event: dict[str, Any]) -> tuple[Told | None, bool]:
    return _object(event.get("usage")), False  # its end mark is no JSON


def _responses(event: dict[str, Any]) -> tuple[Told | None, bool]:
    if event.get("type") not in ("response.completed", "response.incomplete", "response.failed"):
        return None, False
    response = _object(event.get("response"))
    return _object(response.get("usage")) if response else None, True


def _messages(event: dict[str, Any]) -> tuple[Told | None, bool]:
    match event.get("type"):
        case "message_start":
            message = _object(event.get("message"))
            return _object(message.get("usage")) if message else None, False
        case "message_delta":
            return _object(event.get("usage")), False
        case kind:
            return None, kind == "message_stop"


def _line(event: dict[str, Any]) -> tuple[Told | None, bool]:
    return (event, True) if event.get("done") is True else (None, False)


CHAT_WORD = b"\ndata:"

TONGUES: Mapping[Usage, Tongue] = {
    Usage.CHAT: Tongue((b'"usage"',), CHAT_WORD, _chat),
    Usage.RESPONSES: Tongue(
        (b'"response.completed"', b'"response.incomplete"', b'"response.failed"'), b'"delta":', _responses
    ),
    Usage.MESSAGES: Tongue((b'"message_start"', b'"message_delta"', b'"message_stop"'), b'"delta":', _messages),
    Usage.LINES: Tongue((b'"done":true', b'"done": true'), b"\n", _line, lines=True),
}


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _count(told: object, name: str) -> int:
    value = told.get(name) if isinstance(told, dict) else None
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0
