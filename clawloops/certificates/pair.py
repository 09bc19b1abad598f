"""A certificate with its chain and its key, and whether the two are fit to be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key

from clawloops.errors import SetupError
from clawloops.model.certificate import describe


@dataclass(frozen=True)
class Pair:
    """PEM texts as we write them ourselves: whatever else stood in a file is not in them."""

    chain: str  # the host's own certificate first
    key: str

    @cached_property
    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain.encode())


def pair_of(chain: Sequence[x509.Certificate], key: PrivateKeyTypes) -> Pair:
    return Pair(
        "".join(each.public_bytes(Encoding.PEM).decode() for each in chain),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


@lru_cache(maxsize=4)  # both files are read every other second, and a look at a long RSA key takes 0.2 s
def read_pair(chain: bytes, key: bytes) -> Pair:
    """A pair from two PEM files. Raises SetupError where one cannot be read, or they do not belong together."""
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise SetupError("the certificate file holds no certificate in PEM form") from error
    try:
        private = load_key(key, password=None)
    except TypeError as error:
        raise SetupError("the key is protected by a password; give one without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SetupError("the key file holds no private key in PEM form") from error
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise SetupError("the key is of a kind that browsers do not take; get a certificate with an EC or RSA key")
    if _public(private.public_key()) != _public(certificates[0].public_key()):
        raise SetupError(
            "the key is not the one of the certificate, or the file does not begin with this box's own certificate"
        )
    return pair_of(certificates, private)


def check_pair(pair: Pair, base: str, *, now: datetime) -> None:
    """Raises SetupError where browsers would refuse it today for the dashboard or a workspace."""
    leaf = pair.leaf
    for host, name in ((base, base), (f"x.ws.{base}", f"*.ws.{base}")):
        if not describe(leaf).covers(host):
            raise SetupError(f"the certificate is not for {name}; get one for {base} and *.ws.{base}")
    if now < leaf.not_valid_before_utc:
        raise SetupError(f"the certificate begins only on {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    if now >= leaf.not_valid_after_utc:
        raise SetupError(f"the certificate ended on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it")


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]
