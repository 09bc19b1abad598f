"""A connection with a short way: bytes that were read as a request before may be answered without being read anew."""

from __future__ import annotations

import logging
from collections.abc import Callable

from clawloops.wire.connection import Connection, Host

AtOnce = Callable[[bytes], bytes | None]
"""Shown whatever comes between two requests. Where it knows those very bytes (`Request.raw`), it may return a whole
answer, which keeps the connection; with None, they are read as ever."""

_BODIED = ("content-length", "transfer-encoding")  # whoever names one of these sends a body, maybe an empty one
_log = logging.getLogger(__name__)


class RecallingConnection(Connection):
    def __init__(self, host: Host, at_once: AtOnce) -> None:
        super().__init__(host)
        self._at_once = at_once
        self._is_within = False  # whether a request has begun that has not ended
        self._alone = b""  # what came last, when nothing of its request had come before

    def data_received(self, data: bytes) -> None:
        if not (self._is_within or self.task or self.is_full or self._refusal) and self._transport is not None:
            try:
                answer = self._at_once(data)
            except Exception:  # noqa: BLE001 - a bug there takes from nobody what the handler gives
                _log.exception("a request was not answered at once")
                answer = None
            if answer is not None:
                self._transport.write(answer)
                self._wait(self._host.idle_s)
                return
        self._alone = b"" if self._is_within else data
        super().data_received(data)

    # --- told by the parser, in `data_received`

    def on_message_begin(self) -> None:
        self._is_within = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        request = self._incoming
        if request is not None and _is_head(self._alone) and request.header.keys().isdisjoint(_BODIED):
            request.raw = self._alone

    def on_message_complete(self) -> None:
        self._is_within = False
        super().on_message_complete()

    def _without_upgrade(self) -> bytes:
        self._alone = b""  # it is not read as it came
        return super()._without_upgrade()


def _is_head(data: bytes) -> bool:
    """Whether it is the header of one request and ends with it."""
    return data.find(b"\r\n\r\n") == len(data) - 4
