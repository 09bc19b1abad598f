"""What a provider says of itself (OpenID Connect Discovery 1.0), as far as it is needed here. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clawloops.errors import BadIssuer
from clawloops.oidc.id_token import ALGORITHMS

WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Metadata:
    issuer: str
    authorization: str  # addresses of its endpoints
    token: str
    keys: str
    userinfo: str  # "" without one
    says_iss: bool  # names itself in each answer that comes by the browser (RFC 9207)
    takes_secret_in_form: bool  # and not in the header Authorization


def address_of(issuer: str) -> str:
    """Where an issuer keeps its document."""
    return issuer.rstrip("/") + WELL_KNOWN


def read(document: Mapping[str, Any], issuer: str, checked: Callable[[object, str], str]) -> Metadata:
    """Raises BadIssuer for what is of another issuer, or cannot be used here. `checked`: of addresses.

    An issuer that differs by the slash at its end alone is the same one; what it calls itself counts.
    """
    said = document.get("issuer")
    if not isinstance(said, str):
        raise BadIssuer(f"there is no OpenID Connect provider: {address_of(issuer)} is not its document")
    if said.rstrip("/") != issuer.rstrip("/"):
        raise BadIssuer(f"it calls itself {said[:200]!r}; enter that, if you trust it")
    if "code" not in _list(document, "response_types_supported", ["code"]):
        raise BadIssuer("it does not offer the authorization code flow")
    if "S256" not in _list(document, "code_challenge_methods_supported", ["S256"]):
        raise BadIssuer("it does not take PKCE with S256")
    if not set(ALGORITHMS) & set(_list(document, "id_token_signing_alg_values_supported", ["RS256"])):
        raise BadIssuer(f"it signs with none of {', '.join(ALGORITHMS)}")
    ways = _list(document, "token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not {"client_secret_basic", "client_secret_post"} & set(ways):
        raise BadIssuer("it takes no client secret (client_secret_basic or client_secret_post)")
    return Metadata(
        issuer=said,
        authorization=checked(document.get("authorization_endpoint"), "authorization endpoint"),
        token=checked(document.get("token_endpoint"), "token endpoint"),
        keys=checked(document.get("jwks_uri"), "address of keys"),
        userinfo=checked(document["userinfo_endpoint"], "userinfo endpoint") if "userinfo_endpoint" in document else "",
        says_iss=document.get("authorization_response_iss_parameter_supported") is True,
        takes_secret_in_form="client_secret_basic" not in ways,
    )


def _list(document: Mapping[str, Any], name: str, default: list[str]) -> list[str]:
    found = document.get(name, default)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
