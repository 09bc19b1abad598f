"""What browsers are served: the certificate itself, as Traefik shows it, whoever it is from."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from clawloops.clock import now_ms
from clawloops.model.certificate import Certificate, Tls, describe

PORT = 8443  # of Traefik, on the edge's front address
WAIT_S = 3.0
KEPT_S = 30.0  # for which a look counts: pages are drawn every other second
DAY_MS = 86_400_000
_TOLD = 700  # characters of a problem


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with the dashboard's certificate."""

    tls: Tls
    served: Certificate | None  # None: Traefik shows none, or could not be asked
    problem: str  # why there is no better one, "" when nothing is known; plain text from Traefik or the keeper

    @property
    def is_good(self) -> bool:
        """Whether browsers take it today."""
        return self.served is not None and self.served.starts_at <= now_ms() < self.served.ends_at

    @property
    def is_well(self) -> bool:
        """Whether nobody has to do anything about it."""
        return self.is_good and self.served is not None and not self.served.is_late(now=now_ms())

    @property
    def text(self) -> str:
        """Until when, in a few words."""
        if self.served is None:
            return "none is served that fits"
        days = abs(self.served.ends_at - now_ms()) // DAY_MS
        if now_ms() >= self.served.ends_at:
            return "it ended 1 day ago" if days == 1 else f"it ended {days} days ago"
        if not self.is_good:
            return "it is not good yet"
        return "it ends in 1 day" if days == 1 else f"it ends in {days} days"


class Certificates:
    """`address`: Traefik's, in our network namespace; "" where it is not known. `problem`: a file, perhaps missing."""

    def __init__(self, tls: Tls, base: str, *, address: str, problem: Path, port: int = PORT) -> None:
        self.tls = tls
        self._base = base
        self._at = (address, port)
        self._problem = problem
        self._good: dict[str, int] = {}  # host → until when its certificate is good
        self._looked: tuple[float, Standing] | None = None

    async def standing(self) -> Standing:
        """How it stands, as of half a minute ago at most."""
        if self._looked is None or time.monotonic() - self._looked[0] > KEPT_S:
            self._looked = (time.monotonic(), await self.look())
        return self._looked[1]

    async def look(self) -> Standing:
        """How it stands now."""
        served = await self._served(self._base) if self.tls is not Tls.NONE else None
        if served is not None and not served.covers(self._base):
            served = None
        return Standing(self.tls, served, await asyncio.to_thread(self._problem_since, served))

    async def covers(self, host: str) -> bool:
        """Whether browsers are let in at a workspace's host. Where all share a certificate, it is not waited for."""
        if self.tls is not Tls.ACME_HTTP or not self._at[0] or self._good.get(host, 0) > now_ms():
            return True
        served = await self._served(host)
        if served is None or not served.is_good(host, now=now_ms()):
            return False
        self._good[host] = served.ends_at
        return True

    async def _served(self, host: str) -> Certificate | None:
        anything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it is looked at, and nothing is said to it
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(WAIT_S):
                _, writer = await asyncio.open_connection(*self._at, ssl=anything, server_hostname=host)
        except (OSError, TimeoutError):
            return None
        try:
            secured: ssl.SSLObject = writer.get_extra_info("ssl_object")
            shown = secured.getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
        return describe(x509.load_der_x509_certificate(shown)) if shown else None

    def _problem_since(self, served: Certificate | None) -> str:
        """What is written down, unless a newer certificate has settled it."""
        try:
            text, at = self._problem.read_text(errors="replace"), self._problem.stat().st_mtime
        except OSError:
            return ""
        settled = self.tls.is_acme and served is not None and "renewing" in text and served.starts_at > at * 1000
        return "" if settled else plain(text)


def plain(line: str) -> str:
    """A line of Traefik's log as a person reads it: the error alone, without line breaks; any other text as it is."""
    _, found, rest = line.partition('error="')
    if found:
        line = rest.partition('" ')[0].replace("\\n", " ").replace('\\"', '"')
    words = " ".join("".join(each if each.isprintable() else " " for each in line).split())
    return words if len(words) <= _TOLD else words[: _TOLD - 1] + "…"
