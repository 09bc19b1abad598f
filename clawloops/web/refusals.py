"""Writes refusals into the log under the numbers that their pages show; never so much that the rest is drowned."""

from __future__ import annotations

import logging
import time

from aiohttp import web

_log = logging.getLogger(__name__)

MOST = 240  # lines a minute
_MINUTE_S = 60.0


class Refusals:
    """Not for threads. `now_s`: seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._since = -_MINUTE_S
        self._written = 0
        self._left_out = 0

    def note(self, method: str, shown: str, status: int, error: BaseException, *, now_s: float | None = None) -> None:
        """`shown`: the path as it may stand in a log. The line carries the number of the request by itself."""
        now = time.monotonic() if now_s is None else now_s
        if now - self._since >= _MINUTE_S:
            if self._left_out:
                _log.warning("%d refusals of the last minutes were not written down", self._left_out)
            self._since, self._written, self._left_out = now, 0, 0
        if self._written >= MOST:
            self._left_out += 1
            return
        self._written += 1
        _log.info("refused %.20s %s: %d %s: %.300s", method, shown, status, type(error).__name__, error)


REFUSALS: web.AppKey[Refusals] = web.AppKey("refusals", Refusals)
