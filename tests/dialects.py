"""What the scriptable upstream says outside OpenAI's chat: its responses, Anthropic's messages, Ollama's own calls.

Formats: OpenAI's API reference (responses, streaming events), https://docs.anthropic.com/en/api/messages-streaming,
Ollama's docs/api.md. Each as far as a text and one tool call go.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

PATHS = (
    *("/v1/responses", "/openai/v1/responses", "/v1/messages", "/v1/messages/count_tokens"),
    *("/api/chat", "/api/generate", "/api/embed"),
)
INPUT, CACHED, REASONING = 11, 4, 1  # tokens, whatever was asked
ARGUMENTS = {"city": "Bern"}


def whole(path: str, body: Any, words: Sequence[str], *, tool: bool) -> dict[str, Any]:
    """The answer when no stream was asked for."""
    text, model = "".join(words), body.get("model")
    match path:
        case "/v1/responses" | "/openai/v1/responses":
            return _response(model, words, "completed", tool=_tool(body) if tool else None)
        case "/v1/messages":
            block: dict[str, Any] = {"type": "text", "text": text}
            if tool:
                block = {"type": "tool_use", "id": "toolu_1", "name": _tool(body), "input": ARGUMENTS}
            usage = {**_anthropic_input(), "output_tokens": len(words)}
            return {**_message(model), "content": [block], "stop_reason": _stop(tool), "usage": usage}
        case "/v1/messages/count_tokens":
            return {"input_tokens": INPUT}
        case "/api/embed":
            return {"model": model, "embeddings": [[0.25, -0.5]], "total_duration": 9, "prompt_eval_count": INPUT}
        case _:
            return {**_line(path, model, text, tool=_tool(body) if tool else None), **_done(words)}


def events(path: str, body: Any, words: Sequence[str], *, tool: bool) -> list[str]:
    """The pieces of a stream."""
    model = body.get("model")
    match path:
        case "/v1/responses" | "/openai/v1/responses":
            return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in _response_events(model, words)]
        case "/v1/messages":
            called = _tool(body) if tool else None
            told = _message_events(model, words, called)
            return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in told]
        case _:
            lines = [_line(path, model, word) for word in words]
            if tool:
                lines = [_line(path, model, "", tool=_tool(body))]
            lines.append({**_line(path, model, ""), **_done(words)})
            return [json.dumps(each) + "\n" for each in lines]


def _tool(body: Any) -> str:
    first = body["tools"][0]
    return str(first["name"] if "name" in first else first["function"]["name"])


# --- OpenAI's responses


def _response(model: str, words: Sequence[str], status: str, *, tool: str | None = None) -> dict[str, Any]:
    part = {"type": "output_text", "text": "".join(words), "annotations": []}
    item: dict[str, Any] = {
        "type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": [part],
    }  # fmt: skip
    if tool:
        item = {
            "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": tool, "status": status,
            "arguments": json.dumps(ARGUMENTS),
        }  # fmt: skip
    done = status == "completed"
    return {
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": status, "model": model,
        "output": [item] if done else [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": {
            "input_tokens": INPUT, "input_tokens_details": {"cached_tokens": CACHED}, "output_tokens": len(words),
            "output_tokens_details": {"reasoning_tokens": REASONING}, "total_tokens": INPUT + len(words),
        } if done else None,
    }  # fmt: skip


def _response_events(model: str, words: Sequence[str]) -> list[dict[str, Any]]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(model, words, "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": part},
    ]
    for word in words:
        told.append({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []})
    told.append({"type": "response.output_text.done", **place, "text": "".join(words), "logprobs": []})
    told.append({"type": "response.completed", "response": _response(model, words, "completed")})
    return [{**each, "sequence_number": number} for number, each in enumerate(told)]


# --- Anthropic's messages


def _message(model: str) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}


def _anthropic_input() -> dict[str, int]:
    return {"input_tokens": INPUT - CACHED, "cache_read_input_tokens": CACHED}


def _stop(tool: bool) -> str:
    return "tool_use" if tool else "end_turn"


def _message_events(model: str, words: Sequence[str], tool: str | None) -> list[dict[str, Any]]:
    usage = {**_anthropic_input(), "output_tokens": 1}
    head = {**_message(model), "content": [], "stop_reason": None, "usage": usage}
    block: dict[str, Any] = {"type": "text", "text": ""}
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": word} for word in words]
    if tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(ARGUMENTS)}]
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": head},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": each} for each in deltas),
        {"type": "content_block_stop", "index": 0},
    ]
    end = {"output_tokens": len(words)}
    told.append(
        {"type": "message_delta", "delta": {"stop_reason": _stop(bool(tool)), "stop_sequence": None}, "usage": end}
    )
    return [*told, {"type": "message_stop"}]


# --- Ollama's own


def _line(path: str, model: str, text: str, *, tool: str | None = None) -> dict[str, Any]:
    head = {"model": model, "created_at": "2026-01-01T00:00:00Z", "done": False}
    if path == "/api/generate":
        return {**head, "response": text}
    called = {"tool_calls": [{"function": {"name": tool, "arguments": ARGUMENTS}}]} if tool else {}
    return {**head, "message": {"role": "assistant", "content": text, **called}}


def _done(words: Sequence[str]) -> dict[str, Any]:
    return {
        "done": True, "done_reason": "stop", "total_duration": 9, "prompt_eval_count": INPUT, "eval_count": len(words),
    }  # fmt: skip


# --- Gemini's: https://ai.google.dev/api/generate-content


def gemini(words: Sequence[str], tokens: int) -> list[dict[str, Any]]:
    """The pieces of a stream; a whole answer is one piece. `tokens`: what it says of its output."""
    counts = {"promptTokenCount": INPUT, "candidatesTokenCount": tokens, "totalTokenCount": INPUT + tokens}
    return [
        {
            "candidates": [
                {
                    "content": {"role": "model", "parts": [{"text": word}]},
                    "index": 0,
                    **({"finishReason": "STOP"} if number == len(words) else {}),
                }
            ],
            "usageMetadata": {**counts, "cachedContentTokenCount": CACHED},
        }
        for number, word in enumerate(words, start=1)
    ]
