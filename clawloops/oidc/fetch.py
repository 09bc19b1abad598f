"""One document of an identity provider: by HTTPS, bounded in size and time, without a redirect."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from clawloops.errors import BadInput, BadIssuer, Unavailable

LIMIT_S = 10
LIMIT_BYTES = 256 * 1024
_MOST_URL = 2048


@dataclass(frozen=True, slots=True)
class Way:
    """How a provider is reached."""

    session: aiohttp.ClientSession  # without cookies, and without a proxy from the environment
    trusted: ssl.SSLContext
    may_be_plain: bool = False  # an issuer on this very machine may go without TLS

    def checked(self, url: object, what: str) -> str:
        """An address that the provider may have. Raises BadIssuer."""
        if not isinstance(url, str) or not _is_address(url, may_be_plain=self.may_be_plain):
            raise BadIssuer(f"the {what} that it names is no https:// address")
        return url


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    document: Mapping[str, Any] = field(repr=False)  # {} for what is no JSON object


def trust_in(ca: str) -> ssl.SSLContext:
    """Certificates that are taken: the system's authorities, or those of `ca` (PEM) and no others. Raises BadInput."""
    if not ca:
        return ssl.create_default_context()
    try:
        trusted = ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError, TypeError) as error:  # the last one for what is no ASCII
        wish = "That is no certificate: paste the file from -----BEGIN CERTIFICATE----- on."
        raise BadInput(wish, field="ca") from error
    # Authorities of a homelab often lack extensions that RFC 5280 wants; newer Pythons insist on them.
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return trusted


def is_own_machine(url: str) -> bool:
    """Whether an address leads to this very machine, where nobody listens in between."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(url: str, *, may_be_plain: bool) -> bool:
    if len(url) > _MOST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    secure = parts.scheme == "https" or (parts.scheme == "http" and may_be_plain and is_own_machine(url))
    if not may_be_plain and (is_own_machine(url) or _is_link_local(parts.hostname or "")):
        return False  # a provider elsewhere has no business with this machine
    return secure and bool(parts.hostname) and parts.username is None and not parts.fragment


def _is_link_local(host: str) -> bool:
    try:
        return ip_address(host).is_link_local
    except ValueError:
        return False


async def fetch(
    way: Way, url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """GET, or POST with a form. Raises Unavailable when it does not answer, BadIssuer when it answers with too much."""
    host = urlsplit(url).hostname
    try:
        async with way.session.request(
            "GET" if form is None else "POST",
            url,
            data=form,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})},
            allow_redirects=False,
            ssl=way.trusted,
            timeout=aiohttp.ClientTimeout(total=LIMIT_S),
        ) as reply:
            raw = bytearray()
            async for piece in reply.content.iter_any():
                raw += piece
                if len(raw) > LIMIT_BYTES:
                    raise BadIssuer(f"{host} answered with more than {LIMIT_BYTES // 1024} KiB")
            return Answer(reply.status, _object(bytes(raw)))
    except TimeoutError as error:
        raise Unavailable(f"{host} did not answer within {LIMIT_S} s") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unavailable(f"the certificate of {host} is not trusted ({error.certificate_error.args[-1]})") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable(f"{host} does not answer ({_why(error)})") from error


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _why(error: Exception) -> str:
    """The operating system's own words where there are any."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return getattr(cause, "strerror", None) or type(error).__name__
