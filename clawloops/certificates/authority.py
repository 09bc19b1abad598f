"""Our own certificate authority: good for one base name alone, and what it signs is renewed long before it ends."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clawloops.certificates.handed import write
from clawloops.certificates.pair import Pair, pair_of
from clawloops.errors import SetupError
from clawloops.model.certificate import describe, lifetime

_log = logging.getLogger(__name__)

AUTHORITY = timedelta(days=3650)
LEAF = timedelta(days=90)
LONGEST = timedelta(days=397)  # that any browser takes
RENEW = timedelta(days=30)  # before the end
ENDING = timedelta(days=180)  # before the authority's own end: from then on it is told
_BACK = timedelta(hours=1)  # for clocks that are behind ours
_EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def sign(self, base: str, *, now: datetime) -> Pair:
        """A certificate for the dashboard and every workspace."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(base), x509.DNSName(f"*.ws.{base}")])
        made = (
            _begun(_named("ClawLoops server"), self.certificate.subject, key)
            .not_valid_before(now - _BACK)
            .not_valid_after(min(now + LEAF, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(names, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return pair_of([made], key)

    def would_renew(self, leaf: x509.Certificate, base: str, *, now: datetime) -> bool:
        """Whether what is served has to be signed anew: another name or authority, too long, or soon at its end."""
        said = describe(leaf)
        if not (said.covers(base) and said.covers(f"x.ws.{base}")) or lifetime(leaf) > LONGEST:
            return True
        try:
            leaf.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return True
        if leaf.not_valid_after_utc == self.certificate.not_valid_after_utc:
            return False  # one that ends with its authority cannot be made longer
        return not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - RENEW


def new_authority(base: str, *, now: datetime) -> Authority:
    """One that can vouch for this base name only, so that trusting it costs a team nothing elsewhere."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _named(_common_name(base))
    limits = x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(base)], excluded_subtrees=[x509.IPAddress(each) for each in _EVERYWHERE]
    )
    made = (
        _begun(name, name, key)
        .not_valid_before(now - _BACK)
        .not_valid_after(now + AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(limits, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(made, key)


def keep_authority(key_file: Path, certificate_file: Path, base: str, *, now: datetime) -> Authority:
    """The authority of these files; a new one where there is none, or it is another base name's, or at its end.

    Raises SetupError or OSError for files that are there and cannot be used: people trust them, so they stay.
    """
    try:
        key_text, text = key_file.read_bytes(), certificate_file.read_bytes()
    except FileNotFoundError:
        return _made(key_file, certificate_file, base, now=now)
    try:
        certificate, key = x509.load_pem_x509_certificate(text), load_pem_private_key(key_text, password=None)
    except (ValueError, TypeError) as error:
        raise SetupError(f"{key_file} or {certificate_file} is damaged; put both back from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise SetupError(f"{key_file} is not the key of {certificate_file}; put both back from a backup")
    if certificate.subject != _named(_common_name(base)) or now >= certificate.not_valid_after_utc:
        return _made(key_file, certificate_file, base, now=now)
    return Authority(certificate, key)


def _made(key_file: Path, certificate_file: Path, base: str, *, now: datetime) -> Authority:
    made = new_authority(base, now=now)
    # The certificate last: as long as it is missing, nobody trusts the key.
    certificate_file.unlink(missing_ok=True)
    write(key_file, pair_of([made.certificate], made.key).key, mode=0o600)
    write(certificate_file, made.certificate.public_bytes(Encoding.PEM).decode(), mode=0o644)
    _log.warning("made a certificate authority for %s: browsers have to be told to trust it", base)
    return made


def _common_name(base: str) -> str:
    """At most 64 characters (RFC 5280, ub-common-name); what it vouches for stands in its constraints."""
    return f"ClawLoops authority for {base}"[:64]


def _named(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ClawLoops"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
