"""Refuses what would make a backend fetch an address or open somebody's file: a runtime's way into their network.

Each dialect names such things in its own places; texts about addresses, and what a tool was called with, pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from clawloops.errors import BadInput
from clawloops.gateway.endpoints import Usage

_ITSELF = "Images and files must be sent themselves, not as an address or an id at a provider."


def refuse_remote(usage: Usage, fields: dict[str, Any]) -> None:
    """Raises BadInput that names the field."""
    _refuse_tools(fields.get("tools"), only=_RESPONSES_TOOLS if usage is Usage.RESPONSES else None)
    match usage:
        case Usage.CHAT:
            for message in _dicts(fields.get("messages")):
                if isinstance(message.get("content"), list) and _has_address(message["content"]):
                    raise BadInput(_ITSELF, field="messages")
            _refuse_odd_metadata(fields.get("metadata"))
        case Usage.RESPONSES:
            for item in _dicts(fields.get("input")):
                _refuse_item(item)
            _refuse_odd_metadata(fields.get("metadata"))
        case Usage.MESSAGES:
            for message in _dicts(fields.get("messages")):
                _refuse_blocks(message.get("content"))
            _refuse_blocks(fields.get("system"))
            _refuse_odd_metadata(fields.get("metadata"))
        case Usage.LINES:
            pass  # images are Base64 there, and nothing else is fetched


def images_in(usage: Usage, fields: dict[str, Any]) -> tuple[int, int]:
    """How many images are sent, and how many characters their Base64 has."""
    count = size = 0
    left: list[object] = []
    for message in _dicts(fields.get("input" if usage is Usage.RESPONSES else "messages")):
        left.append(message.get("content"))
        if usage is Usage.LINES:
            left.append({"images": message.get("images")})
    if usage is Usage.LINES:
        left.append({"images": fields.get("images")})
    while left:
        value = left.pop()
        if isinstance(value, list):
            left.extend(value)
        elif isinstance(value, dict):
            if isinstance(value.get("images"), list):
                count += len(value["images"])
                size += sum(len(each) for each in value["images"] if isinstance(each, str))
            elif value.get("type") in _IMAGES:
                count += 1
                size += _length_of(value)
            else:  # what a tool has answered holds parts of its own
                left.append(value.get("content"))
    return count, size


_IMAGES = frozenset(("image_url", "input_image", "image"))


def _length_of(part: dict[str, Any]) -> int:
    inner = part.get("image_url") or part.get("source")
    data = (inner.get("url") or inner.get("data")) if isinstance(inner, dict) else inner
    return len(data) if isinstance(data, str) else 0


def _refuse_tools(tools: object, *, only: frozenset[str] | None) -> None:
    for tool in _dicts(tools):
        kind = tool.get("type", "function")
        remote = isinstance(kind, str) and kind.startswith("mcp")
        if remote or tool.keys() & _TOOL_CREDENTIALS or (only is not None and kind not in only):
            raise BadInput("Tools that a backend would call itself are not allowed.", field="tools")


_TOOL_CREDENTIALS = frozenset(
    ("server_url", "connector_id", "headers", "authorization", "api_key", "api_base", "vector_store_ids", "container")
)
# Those that the caller carries out, and those that need nothing of the provider's account.
_RESPONSES_TOOLS = frozenset(
    (
        *("apply_patch", "custom", "function", "image_generation", "local_shell", "namespace", "tool_search"),
        *("web_search", "web_search_preview"),
    )
)


def _refuse_odd_metadata(metadata: object) -> None:
    if metadata is not None and not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise BadInput("'metadata' must be an object of texts.", field="metadata")


def _refuse_item(item: dict[str, Any]) -> None:
    """One item of `input` in OpenAI's responses."""
    if item.get("type") == "item_reference":
        raise BadInput(
            "Nothing is kept behind the gateway that could be referred to; send the item itself.", field="input"
        )
    for name in ("content", "output"):  # of a message, and of what a tool has answered
        parts = item.get(name)
        if isinstance(parts, (dict, list)) and (_has_address([parts]) or _has_file_id(parts)):
            raise BadInput(_ITSELF, field="input")


def _has_file_id(parts: dict[str, Any] | list[Any]) -> bool:
    return any(part.get("file_id") for part in ([parts] if isinstance(parts, dict) else _dicts(parts)))


def _refuse_blocks(content: object) -> None:
    """Content blocks in Anthropic's messages, which hold each other."""
    left = list(_dicts(content))
    while left:
        block = left.pop()
        match block.get("type"):
            case "image" | "document":
                source = block.get("source")
                kind = source.get("type") if isinstance(source, dict) else None
                if kind not in ("base64", "text", "content"):
                    raise BadInput(_ITSELF, field="messages")
                left.extend(_dicts(source.get("content") if isinstance(source, dict) else None))
            case "container_upload":
                raise BadInput(_ITSELF, field="messages")
            case _:
                left.extend(_dicts(block.get("content")))


def _dicts(values: object) -> Iterable[dict[str, Any]]:
    return (each for each in values if isinstance(each, dict)) if isinstance(values, list) else ()


def _has_address(content: list[Any]) -> bool:
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


_READ_BY_MODEL = frozenset(("text", "refusal", "thinking", "annotations"))
_ADDRESS = re.compile(r"\s*(?!data:)(file:|[a-z][a-z0-9+.-]{0,31}:?//|//)", re.IGNORECASE)
