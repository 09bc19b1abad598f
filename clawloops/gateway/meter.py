"""Reads the usage out of an answer while its bytes pass unchanged, and hides the usage chunk nobody asked for.

Format: OpenAI's `usage` object (chat completions, completions, embeddings), in a JSON body or in server-sent events.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import orjson

from clawloops.model.usage import Tokens

_MOST = 1024 * 1024  # bytes of one unfinished event, or of the end of a JSON body, that are kept
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n")
_END = (b"data: [DONE]", b"data:[DONE]")


class Meter(Protocol):
    """Fed each piece of the body in order. `finished` turns true with the piece that completes the answer."""

    finished: bool

    def feed(self, piece: bytes) -> bytes:
        """The bytes to hand on now."""

    def rest(self) -> bytes:
        """The bytes still held when the upstream has ended."""

    def tokens(self) -> Tokens:
        """What the backend counted; where it said nothing, an estimate."""


class StreamMeter:
    """Server-sent events. Whole events are handed on, at once; only an unfinished one waits for its end.

    `finished` means that `data: [DONE]` is in what `feed` returned last.
    """

    def __init__(self, *, hide_usage: bool) -> None:
        self.finished = False
        self._hide = hide_usage
        self._held = b""
        self._usage: dict[str, Any] | None = None
        self._events = 0

    def feed(self, piece: bytes) -> bytes:
        data = self._held + piece if self._held else piece
        cut = _last_boundary(data)
        if cut == 0:
            if len(data) > _MOST:  # not an event that we could read: let it go, so that memory stays bounded
                self._held = b""
                return data
            self._held = data
            return b""
        self._held = data[cut:]
        whole = data if cut == len(data) else data[:cut]
        if whole.rstrip(b"\r\n").endswith(_END):
            self.finished = True
        if b'"usage"' not in whole:
            self._events += whole.count(b"\ndata:") + whole.startswith(b"data:")
            return whole
        return self._read(whole)

    def rest(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def tokens(self) -> Tokens:
        if self._usage is not None:
            return tokens_of(self._usage)
        # ESTIMATE: backends send about one token per event; all there is when the caller left or the backend broke off.
        return Tokens(output=self._events)

    def _read(self, whole: bytes) -> bytes:
        kept, start = [], 0
        for boundary in _BLANK_LINE.finditer(whole):
            event = whole[start : boundary.end()]
            start = boundary.end()
            if self._keep(event):
                kept.append(event)
        kept.append(whole[start:])  # a blank line too many belongs to no event
        return b"".join(kept) if self._hide else whole

    def _keep(self, event: bytes) -> bool:
        data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
        self._events += bool(data)
        if b'"usage"' not in data:
            return True
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return True
        if not isinstance(chunk, dict) or not isinstance(usage := chunk.get("usage"), dict):
            return True
        self._usage = usage
        self._events -= not _says_something(chunk)
        return _says_something(chunk)


class BodyMeter:
    """A whole JSON body. `finished` means that `length` bytes, as announced, have been fed."""

    def __init__(self, *, length: int | None) -> None:
        self.finished = length == 0
        self._left = length
        self._kept: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> bytes:
        self._kept.append(piece)
        self._size += len(piece)
        if self._size > 2 * _MOST:
            self._kept = [b"".join(self._kept)[-_MOST:]]
            self._size = _MOST
        if self._left is not None:
            self._left -= len(piece)
            self.finished = self._left <= 0
        return piece

    def rest(self) -> bytes:
        return b""

    def tokens(self) -> Tokens:
        data = b"".join(self._kept)
        try:
            answer = orjson.loads(data)
            usage = answer.get("usage") if isinstance(answer, dict) else None
        except orjson.JSONDecodeError:
            usage = _usage_at_the_end(data)
        return tokens_of(usage) if isinstance(usage, dict) else Tokens()


def tokens_of(usage: dict[str, Any]) -> Tokens:
    """OpenAI's usage object as Tokens; what is absent or not a count is 0."""
    return Tokens(
        input=_count(usage, "prompt_tokens"),
        output=_count(usage, "completion_tokens"),
        cached=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


def _last_boundary(data: bytes) -> int:
    """The number of bytes up to the end of the last whole event; 0 when there is none."""
    unix, dos = data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n")
    return max(unix + 2 if unix >= 0 else 0, dos + 4 if dos >= 0 else 0)


def _says_something(chunk: dict[str, Any]) -> bool:
    """Whether a chunk with usage says anything else: OpenAI sends it with no choices, LiteLLM with an empty one."""
    for choice in chunk.get("choices") or ():
        if not isinstance(choice, dict) or choice.get("finish_reason") or choice.get("text"):
            return True
        delta = choice.get("delta")
        if delta and any(value for name, value in delta.items() if name != "role"):
            return True
    return bool(chunk.get("error"))


def _usage_at_the_end(data: bytes) -> object:
    """The last `"usage": {…}` of a JSON body of which only the end was kept. In texts the quotes would be escaped."""
    found = data.rfind(b'"usage"')
    start = data.find(b"{", found) if found >= 0 else -1
    depth = 0
    for end in range(start, len(data)) if start >= 0 else ():
        depth += (data[end] == 0x7B) - (data[end] == 0x7D)
        if depth == 0:
            try:
                return orjson.loads(data[start : end + 1])
            except orjson.JSONDecodeError:
                return None
    return None
