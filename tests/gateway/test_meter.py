"""However the network cuts a stream, the same bytes come out and the same tokens are counted."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawloops.gateway.counting import tokens_of
from clawloops.gateway.endpoints import Usage
from clawloops.gateway.meter import BodyMeter, StreamMeter
from clawloops.model.usage import Tokens
from tests.gateway.shapes import DONE, OTHER_BODIES, OTHER_STREAMS, STREAMS


def _cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(raw) + 1) for place in places}), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges) if a < b]


def _pass(meter: StreamMeter, pieces: list[bytes]) -> bytes:
    return b"".join(meter.feed(piece) for piece in pieces) + meter.rest()


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 5000), max_size=40))
def test_every_cutting_passes_the_same_bytes_and_counts_the_same(name: str, places: list[int]) -> None:
    pieces, tokens = STREAMS[name]
    raw = "".join(pieces).encode("latin-1")
    meter = StreamMeter(hide_usage=False)
    assert _pass(meter, _cut(raw, places)) == raw
    assert meter.tokens() == tokens
    assert meter.finished == ("[DONE]" in raw.decode("latin-1"))


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 5000), max_size=40))
def test_every_cutting_hides_the_same_bytes(name: str, places: list[int]) -> None:
    raw = "".join(STREAMS[name][0]).encode("latin-1")
    hidden = _pass(StreamMeter(hide_usage=True), _cut(raw, places))
    assert hidden == _pass(StreamMeter(hide_usage=True), [raw])
    assert raw.startswith(hidden[:20]) or not hidden.startswith(b"data: {")
    assert len(hidden) <= len(raw)


@given(st.sampled_from(sorted(OTHER_STREAMS)), st.lists(st.integers(0, 5000), max_size=40), st.booleans())
def test_so_it_is_with_every_other_form(name: str, places: list[int], hide: bool) -> None:
    usage, pieces, tokens = OTHER_STREAMS[name]
    raw = "".join(pieces).encode("latin-1")
    meter = StreamMeter(usage, hide_usage=hide)
    assert _pass(meter, _cut(raw, places)) == raw
    assert meter.tokens() == tokens
    assert meter.finished == (not name.endswith("cut"))


@pytest.mark.parametrize("name", OTHER_BODIES)
def test_a_whole_body_of_every_other_form_is_counted(name: str) -> None:
    usage, raw, tokens = OTHER_BODIES[name]
    meter = BodyMeter(usage, length=len(raw))
    assert b"".join(meter.feed(piece) for piece in _cut(raw.encode(), [1, 700_000, 1_500_000])) == raw.encode()
    assert meter.tokens() == tokens


@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data:", b'"usage"', b"{}", b": x", b"data: [DONE]", b"x"])))
def test_noise_passes_unchanged_however_it_looks(pieces: list[bytes]) -> None:
    for usage in Usage:
        for hide in (False, True):
            assert _pass(StreamMeter(usage, hide_usage=hide), pieces) == b"".join(pieces)


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("openai", 1),
        ("vllm, two events in one piece", 1),
        ("litellm, an empty choice beside the usage", 1),
        ("llama.cpp, usage beside timings", 0),  # its last words and its usage are one event
        ("no usage and no end mark", 0),
        ("an error in mid-stream", 0),
    ],
)
def test_only_the_event_that_says_nothing_else_is_hidden(name: str, gone: int) -> None:
    events = "".join(STREAMS[name][0]).split("\n\n")
    kept = _pass(StreamMeter(hide_usage=True), ["\n\n".join(events).encode()]).decode().split("\n\n")
    dropped = [event for event in events if event not in kept]
    assert len(events) - len(kept) == gone
    assert [event for event in events if event not in dropped] == kept
    assert all('"usage":{' in event for event in dropped)


def test_the_end_mark_is_seen_with_the_piece_that_completes_it() -> None:
    meter = StreamMeter(hide_usage=False)
    assert (meter.feed(b'data: {"x":"data: [DONE]"}\n\n'), meter.finished) == (b'data: {"x":"data: [DONE]"}\n\n', False)
    assert (meter.feed(b"data: [DO"), meter.finished) == (b"", False)
    assert (meter.feed(b"NE]\n\n"), meter.finished) == (DONE.encode(), True)


def test_an_endless_line_does_not_pile_up() -> None:
    meter = StreamMeter(hide_usage=True)
    released = sum(len(meter.feed(b"x" * 65536)) for _ in range(64))
    assert released >= 63 * 65536 - 1024 * 1024


def test_usage_that_is_not_a_count_is_nothing() -> None:
    odd = {
        "prompt_tokens": -1,
        "completion_tokens": "9",
        "prompt_tokens_details": [],
        "completion_tokens_details": None,
    }
    assert tokens_of(Usage.CHAT, odd) == Tokens()


@given(st.binary(max_size=200), st.integers(0, 300))
def test_a_body_passes_whatever_it_holds(raw: bytes, length: int) -> None:
    meter = BodyMeter(length=length)
    assert meter.feed(raw) + meter.rest() == raw
    assert meter.finished == (len(raw) >= length)
    assert isinstance(meter.tokens(), Tokens)
