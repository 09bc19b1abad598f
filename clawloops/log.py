"""Log lines for people and machines: one line each, with a request id, and never with a secret that is in use."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextvars import ContextVar
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from aiohttp import ClientConnectionResetError, http_exceptions, web

from clawloops.spelling import spellings

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class Redactor(logging.Filter):
    """Replaces every live secret by `[secret]` before a line is written, exception texts included."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: frozenset[str] = frozenset()

    def add(self, secret: str) -> None:
        """Mask `secret`, however it is spelled, from now on.

        Values under 8 characters are refused: masking them would shred ordinary words.
        """
        if len(secret) >= 8 and not (spelled := frozenset(spellings(secret))) <= self._secrets:
            self._secrets = self._secrets | spelled  # never in place: threads read it meanwhile

    def scrub(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[secret]")
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.scrub(record.exc_text)
        message = record.getMessage()
        record.msg, record.args = _one_line(self.scrub(message)), None
        return True


def _one_line(text: str) -> str:
    """What a caller has sent may stand in it, and must not look like a line of ours."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether what aiohttp's server reports is a fault of ours, and no malformed request or a sender who left.

    Those are answered 400, or by nobody; with a traceback for each, hostile code would drown the log in them.
    """
    error = record.exc_info[1] if record.exc_info else None
    senders = (http_exceptions.HttpProcessingError, web.RequestPayloadError, ClientConnectionResetError)
    return not isinstance(error, senders) or logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


redactor = Redactor()

FILE = "clawloops.log"
_FILE_BYTES = 1 << 20
"""The newest file is at most so large, and there is one more from before it."""


class _File(RotatingFileHandler):
    """On a full disk a line stands on standard error alone: the trouble is told there, and not once for each line."""

    def _open(self) -> TextIOWrapper:
        """Each new one is for us alone."""
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def keep(folder: Path) -> logging.Handler:
    """Also write the lines into a file, for `clawloops support`, until the handler is closed. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = _redacted(_File(folder / FILE, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8"))
    logging.getLogger().addHandler(handler)
    return handler


def configure(level: str) -> None:
    """Send everything at `level` and above to standard error, one line each, redacted."""
    logging.basicConfig(level=level.upper(), handlers=[_redacted(logging.StreamHandler(sys.stderr))], force=True)
    for told_too_much in ("docker", "urllib3", "aiohttp.access", "aiosqlite"):  # the last one: every value of every row
        logging.getLogger(told_too_much).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(is_ours)


def _redacted(handler: logging.Handler) -> logging.Handler:
    handler.addFilter(redactor)
    lines = logging.Formatter("%(asctime)sZ %(levelname)-7s %(name)s [%(request_id)s] %(message)s")
    lines.converter = time.gmtime
    handler.setFormatter(lines)
    return handler
