"""Reads the usage out of an answer while its bytes pass unchanged, and hides the usage chunk nobody asked for.

An answer is a JSON body, server-sent events, or lines of JSON; `counting.py` knows where each form tells its usage.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Protocol

import orjson

from clawloops.gateway.counting import CHAT_WORD, TONGUES, Told, tokens_of, told_in
from clawloops.gateway.endpoints import Usage
from clawloops.model.usage import Tokens

_MOST = 1024 * 1024  # bytes of one unfinished event, or of the end of a JSON body, that are kept
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n")
_LINE = re.compile(rb"\n")
_END = (b"data: [DONE]", b"data:[DONE]")


class Meter(Protocol):
    """Fed each piece of the body in order. `finished` turns true with the piece that completes the answer."""

    finished: bool
    is_told: bool  # whether the backend has counted; of a whole answer known once `tokens` was asked

    def feed(self, piece: bytes) -> bytes:
        """The bytes to hand on now."""

    def rest(self) -> bytes:
        """The bytes still held when the upstream has ended."""

    def tokens(self, *, unsaid: int = 0) -> Tokens:
        """What the backend counted; where it said nothing, an estimate of the answer, and `unsaid` tokens of input."""

    def so_far(self) -> int:
        """About how many tokens have come; 0 while that cannot be told."""


class StreamMeter:
    """Events. Whole ones are handed on, at once; only an unfinished one waits for its end.

    `finished` means that the last event, `data: [DONE]` or what the form has instead, is in what `feed` returned last.
    """

    def __init__(self, usage: Usage = Usage.CHAT, *, hide_usage: bool) -> None:
        self.finished = False
        self.is_told = False
        self._usage = usage
        self._tongue = TONGUES[usage]
        self._marks, self._lines, self._word = self._tongue.marks, self._tongue.lines, self._tongue.word
        self._hide = hide_usage
        self._held = b""
        self._told: Told | None = None
        self._words = 0
        self._plain = 0  # events that only carry text, and what they measure: bytes of all, and of a short one
        self._bytes = 0
        self._shortest = _MOST

    def feed(self, piece: bytes) -> bytes:
        data = self._held + piece if self._held else piece
        cut = data.rfind(b"\n") + 1 if self._lines else _last_boundary(data)
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
        for mark in self._marks:
            if mark in whole:
                return self._read(whole)
        count = self._count(whole)
        if count:
            self._words += count
            self._plain += count
            self._bytes += len(whole)
            self._shortest = min(self._shortest, len(whole) // count)
        return whole

    def rest(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def tokens(self, *, unsaid: int = 0) -> Tokens:
        if self._told is None:
            return Tokens(input=unsaid, output=self.so_far())
        tokens = tokens_of(self._usage, self._told)
        if self._usage is Usage.MESSAGES and not self.finished:  # told at the start, and not yet again
            return replace(tokens, output=max(tokens.output, self.so_far()))
        return tokens

    def so_far(self) -> int:
        # ESTIMATE: one token per event, or, where events hold more, one for 4 bytes beyond what a short event measures.
        return max(self._words, (self._bytes - self._plain * self._shortest) // 4)

    def _count(self, events: bytes) -> int:
        """Words in them; the mark of a line that has nothing before it stands for its own line."""
        return events.count(self._word) + (self._word is CHAT_WORD and events.startswith(b"data:"))

    def _read(self, whole: bytes) -> bytes:
        kept, start = [], 0
        for boundary in (_LINE if self._lines else _BLANK_LINE).finditer(whole):
            event = whole[start : boundary.end()]
            start = boundary.end()
            if self._keep(event):
                kept.append(event)
        kept.append(whole[start:])  # a blank line too many belongs to no event
        return b"".join(kept) if self._hide else whole

    def _keep(self, event: bytes) -> bool:
        data = event if self._lines else _data_of(event)
        self._words += bool(data) if self._usage is Usage.CHAT else self._count(event)
        if not any(mark in data for mark in self._marks):
            return True
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return True
        if not isinstance(chunk, dict):
            return True
        told, last = self._tongue.hear(chunk)
        self.finished = self.finished or last
        if told is None:
            return True
        self.is_told = True
        self._told = {**(self._told or {}), **{name: value for name, value in told.items() if value is not None}}
        if self._usage is not Usage.CHAT:
            return True
        self._words -= not _says_something(chunk)
        return _says_something(chunk)


class BodyMeter:
    """A whole JSON body. `finished` means that `length` bytes, as announced, have been fed."""

    def __init__(self, usage: Usage = Usage.CHAT, *, length: int | None) -> None:
        self.finished = length == 0
        self.is_told = False
        self._usage = usage
        self._left = length
        self._kept: list[bytes] = []
        self._size = 0
        self._passed = 0

    def feed(self, piece: bytes) -> bytes:
        self._kept.append(piece)
        self._size += len(piece)
        self._passed += len(piece)
        if self._size > 2 * _MOST:
            self._kept = [b"".join(self._kept)[-_MOST:]]
            self._size = _MOST
        if self._left is not None:
            self._left -= len(piece)
            self.finished = self._left <= 0
        return piece

    def rest(self) -> bytes:
        return b""

    def tokens(self, *, unsaid: int = 0) -> Tokens:
        data = b"".join(self._kept)
        try:
            told = told_in(self._usage, orjson.loads(data))
        except orjson.JSONDecodeError:
            told = _told_at_the_end(self._usage, data)
        if told is not None:
            self.is_told = True
            return tokens_of(self._usage, told)
        return Tokens(input=unsaid, output=0 if self.finished else self.so_far())  # what is whole may just not tell

    def so_far(self) -> int:
        # ESTIMATE: a token has four bytes.
        return self._passed // 4


def _data_of(event: bytes) -> bytes:
    return b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))


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


def _told_at_the_end(usage: Usage, data: bytes) -> Told | None:
    """The usage of a JSON body of which only the end was kept. In texts the quotes would be escaped."""
    if usage is Usage.LINES:
        counts = re.findall(rb'"(prompt_eval_count|eval_count)":\s*(\d{1,15})', data)
        return {name.decode(): int(number) for name, number in counts}
    found = data.rfind(b'"usage"')
    start = data.find(b"{", found) if found >= 0 else -1
    depth = 0
    for end in range(start, len(data)) if start >= 0 else ():
        depth += (data[end] == 0x7B) - (data[end] == 0x7D)
        if depth == 0:
            try:
                return told_in(Usage.CHAT, {"usage": orjson.loads(data[start : end + 1])})
            except orjson.JSONDecodeError:
                return None
    return None
