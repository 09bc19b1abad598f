"""Spots runtimes that go in circles with nobody at them: the same call over and over, or again after each start.

Two calls are alike when the same model is asked and their last message is the same but for numbers: a heartbeat's clock
and a retry's counter make no difference. Pure: the callers bring the time, in seconds that only rise.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from clawloops.gateway.body import Body

_KEPT = 64  # calls of one runtime that are remembered
_RULES = ((10, 600.0), (20, 3600.0))  # so many alike within so many seconds are too many
_STARTS = 3  # so many starts that each began with the same call, within `_STARTS_WITHIN_S`
_STARTS_WITHIN_S = 1800.0
_READ = 2000  # characters of a message that are compared
_NUMBERS = re.compile(r"[\d\s]+")


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    alike: bytes
    start: bytes  # the runtime's token, which is another one after each start


class Circling(Exception):
    """The background calls of this runtime are held. The text says why."""


class Circles:
    """`on_held(runtime_id, why)` is told when a runtime's background calls are held from now on."""

    def __init__(self, *, on_held: Callable[[str, str], None]) -> None:
        self._on_held = on_held
        self._seen: dict[str, deque[_Seen]] = {}
        self._held: dict[str, str] = {}

    def hold(self, runtime_id: str, why: str) -> None:
        """Go on holding it, as before a restart."""
        self._held[runtime_id] = why

    def release(self, runtime_id: str) -> None:
        """Let its calls through again, and count anew."""
        self._held.pop(runtime_id, None)
        self._seen.pop(runtime_id, None)

    def why(self, runtime_id: str) -> str:
        """Why its background calls are held; "" where they are not."""
        return self._held.get(runtime_id, "")

    def refuse_held(self, runtime_id: str) -> None:
        """Raises Circling for a background call of a runtime that is held."""
        if runtime_id in self._held:
            raise Circling(self._held[runtime_id])

    def note(self, runtime_id: str, start: bytes, body: Body, now: float) -> None:
        """A background call would be made now. Raises Circling when it is one too many: it is held from now on."""
        seen = self._seen.setdefault(runtime_id, deque(maxlen=_KEPT))
        seen.append(_Seen(now, _print(body), start))
        if why := _circle(seen, now):
            self._held[runtime_id] = why
            self._on_held(runtime_id, why)
            raise Circling(why)


def _circle(seen: deque[_Seen], now: float) -> str:
    latest = seen[-1]
    same = [each for each in seen if each.alike == latest.alike]
    for most, within_s in _RULES:
        count = sum(now - each.at < within_s for each in same)
        if count >= most:
            return f"the same call came {count} times within {within_s / 60:.0f} minutes"
    firsts: dict[bytes, _Seen] = {}
    for each in seen:
        firsts.setdefault(each.start, each)
    starts = [each for each in firsts.values() if each.alike == latest.alike and now - each.at < _STARTS_WITHIN_S]
    if len(starts) >= _STARTS and firsts[latest.start] is latest:
        minutes = f"{_STARTS_WITHIN_S / 60:.0f} minutes"
        return f"it started {len(starts)} times within {minutes}, each time with the same call"
    return ""


def _print(body: Body) -> bytes:
    """What makes two calls alike, as a hash: nothing of a message is kept."""
    said = body.fields.get("messages") or body.fields.get("input") or body.fields.get("prompt") or ""
    last = said[-1] if isinstance(said, list) else said
    try:
        text = last if isinstance(last, str) else orjson.dumps(last).decode()
    except orjson.JSONEncodeError:  # nested too deeply: such a call is refused later
        text = ""
    alike = _NUMBERS.sub(" ", f"{body.model} {text[:_READ]}").lower()
    return blake2b(alike.encode("utf-8", "replace"), digest_size=16).digest()
