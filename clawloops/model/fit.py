"""Whether a model fits into a backend's memory: its weights, and the cache of its context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_BESIDE = 512 * 1024 * 1024  # bytes; ESTIMATE: what the server takes for itself and for one batch
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model needs beside its weights."""

    cache_bytes: int  # of one token in the context; 0: not known
    most_context: int  # tokens that it was made for; 0: not known
    context: int  # tokens that it is set to; 0: as the server is


@dataclass(frozen=True, slots=True)
class Fit:
    is_known: bool  # whether anything can be said
    fits: bool = False
    text: str = ""  # a sentence for an admin


def fit(name: str, weights: int, cache: int, capacity: int, loaded: Mapping[str, int]) -> Fit:
    """`weights` and `cache` in bytes, `capacity` too (0: not known); `loaded`: bytes of each model that is loaded."""
    if not capacity:
        return Fit(is_known=False)
    need = weights + cache + _BESIDE
    if name in loaded:
        return Fit(is_known=True, fits=True, text=f"It is loaded, with {_gib(loaded[name])}.")
    if need > capacity:
        text = f"It needs {_gib(need)} of {_gib(capacity)}: a part of it would run on the CPU, many times slower."
        return Fit(is_known=True, fits=False, text=text)
    if need + sum(loaded.values()) <= capacity:
        return Fit(is_known=True, fits=True, text=f"It fits: it needs {_gib(need)} of {_gib(capacity)}.")
    going, left = [], capacity - sum(loaded.values())
    for each, size in sorted(loaded.items(), key=lambda pair: -pair[1]):
        if left >= need:
            break
        going.append(each)
        left += size
    return Fit(is_known=True, fits=True, text=f"It fits ({_gib(need)}) once {', '.join(going)} is unloaded for it.")


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
