"""ID tokens (OpenID Connect Core 1.0, 3.1.3.7): whose they are once every check has passed, and not before."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import jwt

from clawloops.errors import BadIssuer

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What signs with a private key. `none`, and what is checked with a shared secret (HS256), are taken from nobody."""

LEEWAY_S = 60
_MOST_SUBJECT = 255  # characters, by the specification


def header_of(token: object) -> tuple[str, str | None]:
    """The algorithm and the key that a token names, of which nothing is believed yet. Raises BadIssuer."""
    if not isinstance(token, str):
        raise BadIssuer("it sent no ID token")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError as error:
        raise BadIssuer("its ID token cannot be read") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise BadIssuer(f"its ID token is signed with {str(algorithm)[:20]!r}, which proves nothing here")
    return str(algorithm), kid if isinstance(kid, str) else None


def check(token: str, key: jwt.PyJWK, *, issuer: str, client_id: str, nonce: str) -> Mapping[str, Any]:
    """The claims of an ID token that is signed by `key`, of this issuer, for us, now, and asked for with `nonce`.

    Raises BadIssuer that says what is wrong.
    """
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": ["iss", "sub", "aud", "exp", "iat"], "enforce_minimum_key_length": True},
        )
    except (jwt.InvalidTokenError, jwt.InvalidKeyError) as error:
        raise BadIssuer(f"its ID token does not hold: {error}") from error
    azp, audience = claims.get("azp"), claims["aud"]
    if azp != client_id and (azp is not None or (isinstance(audience, list) and len(audience) > 1)):
        raise BadIssuer("its ID token does not hold: it is for several, and was given to another one")
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise BadIssuer("its ID token does not hold: it belongs to another sign-in")
    if not 1 <= len(claims["sub"]) <= _MOST_SUBJECT or not claims["sub"].isprintable():
        raise BadIssuer("its ID token does not hold: it says nothing usable of whose it is")
    return claims
