"""`python -m clawloops.certificates`: looks every few seconds whether Traefik serves what it should, and hands it that.

Nothing is remembered between two looks: whatever happened in between, the next one makes it right.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clawloops.certificates.authority import ENDING, keep_authority
from clawloops.certificates.handed import Handed
from clawloops.certificates.pair import Pair, check_pair, read_pair
from clawloops.config import Settings, load
from clawloops.errors import ClawLoopsError, SetupError
from clawloops.log import configure
from clawloops.model.certificate import Tls, describe

_log = logging.getLogger(__name__)

EVERY_S = 2.0

Source = Callable[[Pair | None], tuple[Pair, str]]
"""Takes what is served, returns what should be, and what is to be told about it. Raises ClawLoopsError or OSError."""


def main() -> int:
    """Look until told to end. Returns the exit status: 0 told to end, 1 a failure that its text explains."""
    try:
        settings = load(os.environ)
        configure(settings.log_level)
        source = source_of(settings)
    except ClawLoopsError as error:
        print(f"clawloops certificates: {error}", file=sys.stderr)
        return 1
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    handed = Handed(settings.data / "traefik" / "dynamic", settings.data / "tls" / "problem")
    while True:
        look(source, handed)
        if ended.wait(EVERY_S):
            return 0


def source_of(settings: Settings) -> Source:
    """Where this box has its certificate from. Raises SetupError where that is somewhere else than here."""
    match settings.tls:
        case Tls.OWN:
            return Own(settings.base, settings.data / "authority" / "ca.key", settings.data / "tls" / "ca.crt")
        case Tls.FILES:
            return Given(settings.base, Path(settings.tls_certificate), Path(settings.tls_key))
        case Tls.NONE | Tls.ACME_HTTP | Tls.ACME_DNS:
            raise SetupError(f"with CLAWLOOPS_TLS={settings.tls} there is nothing to do here; run ./install.sh again")


def look(source: Source, handed: Handed) -> None:
    """One look. What cannot be done now is told, and what is served stays as it is."""
    served = handed.pair()
    try:
        wanted, problem = source(served)
        if wanted != served:
            handed.hand(wanted)
            _log.info("a certificate until %s is served", f"{wanted.leaf.not_valid_after_utc:%Y-%m-%d}")
    except ClawLoopsError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.filename or 'a file'} cannot be used: {error.strerror}"
    try:
        if handed.tell(problem) and problem:
            _log.error("%s", problem)
    except OSError as error:  # a full disk: the next look tries again
        _log.error("%s; and that cannot be written down: %s", problem, error.strerror)


@dataclass(frozen=True, slots=True)
class Own:
    """Certificates of our own authority."""

    base: str
    key_file: Path
    certificate_file: Path

    def __call__(self, served: Pair | None) -> tuple[Pair, str]:
        now = datetime.now(UTC)
        authority = keep_authority(self.key_file, self.certificate_file, self.base, now=now)
        if served is None or authority.would_renew(served.leaf, self.base, now=now):
            served = authority.sign(self.base, now=now)
        ends = authority.certificate.not_valid_after_utc
        if ends - now > ENDING:
            return served, ""
        return served, f"the certificate authority ends on {ends:%Y-%m-%d}: make a new one in good time"


@dataclass(frozen=True, slots=True)
class Given:
    """Certificates that somebody else puts into two files, one of them perhaps a moment before the other."""

    base: str
    certificate: Path
    key: Path

    def __call__(self, _: Pair | None) -> tuple[Pair, str]:
        now = datetime.now(UTC)
        pair = read_pair(self.certificate.read_bytes(), self.key.read_bytes())
        check_pair(pair, self.base, now=now)
        if not describe(pair.leaf).is_late(now=round(now.timestamp() * 1000)):
            return pair, ""
        ends = f"{pair.leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        return pair, f"the certificate ends on {ends}, and nobody has put a newer one into {self.certificate}"


if __name__ == "__main__":
    sys.exit(main())
