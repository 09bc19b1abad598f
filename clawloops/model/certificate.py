"""What a certificate says: for which hosts it is good, who signed it, and until when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import NameOID

LATE = 6  # in the last sixth of its life, a certificate should long have been renewed


class Tls(StrEnum):
    """Where the certificates of this box come from."""

    NONE = "none"  # plain HTTP, on *.localhost alone
    OWN = "own"  # an authority of its own
    ACME_HTTP = "acme-http"  # one for each host, by HTTP-01
    ACME_DNS = "acme-dns"  # one wildcard, by DNS-01
    FILES = "files"  # given, and renewed by somebody else

    @property
    def is_acme(self) -> bool:
        return self in (Tls.ACME_HTTP, Tls.ACME_DNS)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The part of a certificate that people and browsers look at. Times are Unix milliseconds."""

    names: tuple[str, ...]
    issuer: str
    starts_at: int
    ends_at: int

    def covers(self, host: str) -> bool:
        """Whether it is good for a host; a wildcard stands for one label (RFC 6125, 6.4.3)."""
        _, _, rest = host.partition(".")
        return host in self.names or f"*.{rest}" in self.names

    def is_late(self, *, now: int) -> bool:
        """Whether whoever renews it is behind with that."""
        return (self.ends_at - now) * LATE < self.ends_at - self.starts_at

    def is_good(self, host: str, *, now: int) -> bool:
        return self.covers(host) and self.starts_at <= now < self.ends_at


def describe(found: x509.Certificate) -> Certificate:
    """What an X.509 certificate says. A missing or unreadable list of names is an empty one."""
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(extension.value.get_values_for_type(x509.DNSName))
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    words = found.issuer.get_attributes_for_oid(NameOID.COMMON_NAME) or list(found.issuer)
    return Certificate(
        names=names,
        issuer=str(words[0].value) if words else "",
        starts_at=round(found.not_valid_before_utc.timestamp() * 1000),
        ends_at=round(found.not_valid_after_utc.timestamp() * 1000),
    )


def lifetime(found: x509.Certificate) -> timedelta:
    return found.not_valid_after_utc - found.not_valid_before_utc
