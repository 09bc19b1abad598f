"""Log lines for people and machines: one line each, with a request id, and never with a secret that is in use."""

from __future__ import annotations

import logging
import sys
import time
from contextvars import ContextVar

from aiohttp import ClientConnectionResetError, http_exceptions, web

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class Redactor(logging.Filter):
    """Replaces every live secret by `[secret]` before a line is written, exception texts included."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: set[str] = set()

    def add(self, secret: str) -> None:
        """Mask `secret` from now on. Values under 8 characters are refused: masking them would shred ordinary words."""
        if len(secret) >= 8:
            self._secrets.add(secret)

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


def configure(level: str) -> None:
    """Send everything at `level` and above to standard error, one line each, redacted."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(redactor)
    lines = logging.Formatter("%(asctime)sZ %(levelname)-7s %(name)s [%(request_id)s] %(message)s")
    lines.converter = time.gmtime
    handler.setFormatter(lines)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("docker").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(is_ours)
