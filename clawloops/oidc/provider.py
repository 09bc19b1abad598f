"""One identity provider as its client sees it: where a browser is sent, and whom it has sent back.

The authorization code flow with PKCE (RFC 6749, RFC 7636, RFC 9700). What the provider says of itself, and its keys,
are asked for when they are needed and kept for an hour; a failure is kept for a few seconds.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from yarl import URL

from clawloops.clock import steady_ms
from clawloops.errors import BadInput, BadIssuer, ClawLoopsError, Unavailable
from clawloops.oidc import discovery, id_token
from clawloops.oidc.discovery import Metadata
from clawloops.oidc.fetch import Answer, Way, fetch
from clawloops.oidc.keys import Keys

KEPT_MS = 3_600_000
FAILURE_KEPT_MS = 5_000
_NO_CODE = "clawloops-tries-its-secret"


@dataclass(frozen=True, slots=True)
class Asking:
    """What ties an answer to one question: `state` comes back by the browser, the others are checked."""

    state: str
    nonce: str
    verifier: str  # of PKCE


class Provider:
    def __init__(self, way: Way, *, issuer: str, client_id: str, secret: str, redirect: str) -> None:
        """`redirect`: our address that it sends browsers back to."""
        self._way = way
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._redirect = redirect
        self._lock = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._read_at = 0
        self._failure: tuple[ClawLoopsError, int] | None = None
        self._keys = Keys(self._key_set)

    async def check(self) -> str:
        """Try everything that can be tried without a person; the issuer as it calls itself.

        Raises Unavailable, BadIssuer, and BadInput when it does not know this client or its secret.
        """
        metadata = await self.metadata()
        await self._keys.load()
        form = {"grant_type": "authorization_code", "code": _NO_CODE, "redirect_uri": self._redirect}
        answer = await self._ask_for_tokens(metadata, {**form, "code_verifier": _NO_CODE.ljust(43, "-")})
        if answer.document.get("error") in ("invalid_client", "unauthorized_client") or answer.status == 401:
            raise BadInput("The provider does not know this client id with this secret.", field="client_secret")
        return metadata.issuer

    async def metadata(self) -> Metadata:
        """Raises Unavailable and BadIssuer."""
        async with self._lock:
            now = steady_ms()
            if self._metadata is not None and now - self._read_at < KEPT_MS:
                return self._metadata
            if self._failure is not None and now - self._failure[1] < FAILURE_KEPT_MS:
                raise type(self._failure[0])(str(self._failure[0]))
            try:
                self._metadata = await self._discover()
            except (Unavailable, BadIssuer) as error:
                self._failure = error, steady_ms()
                raise
            self._read_at, self._failure = steady_ms(), None
            return self._metadata

    async def address(self, asking: Asking, *, scopes: str, anew: bool) -> str:
        """Where the browser goes. `anew`: the provider is to ask for a proof, whoever is signed in there."""
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect,
            "scope": scopes,
            "state": asking.state,
            "nonce": asking.nonce,
            "code_challenge": challenge_of(asking.verifier),
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if anew else {}),
        }
        return str(URL((await self.metadata()).authorization).update_query(query))

    async def check_sender(self, iss: str | None) -> None:
        """That an answer by the browser is of this issuer, where it says so or has to (RFC 9207). Raises BadIssuer."""
        metadata = await self.metadata()
        if iss is None and not metadata.says_iss:
            return
        if iss != metadata.issuer:
            raise BadIssuer("the answer came from another provider than the one that was asked")

    async def redeem(self, code: str, asking: Asking, *, wanted: Collection[str]) -> Mapping[str, Any]:
        """The checked claims behind a code. `wanted`: those that are asked of userinfo when the ID token lacks one.

        Raises Unavailable and BadIssuer.
        """
        metadata = await self.metadata()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect}
        answer = await self._ask_for_tokens(metadata, {**form, "code_verifier": asking.verifier})
        if answer.status != 200:
            why = answer.document.get("error")
            raise BadIssuer(f"it took back what it had said ({str(why)[:60] if why else f'HTTP {answer.status}'})")
        token = answer.document.get("id_token")
        algorithm, kid = id_token.header_of(token)
        key = await self._keys.find(algorithm, kid)
        claims = id_token.check(str(token), key, issuer=metadata.issuer, client_id=self._client_id, nonce=asking.nonce)
        missing = set(wanted) - claims.keys()
        if not metadata.userinfo or not missing:
            return claims
        more = await self._userinfo(metadata, answer.document.get("access_token"), claims["sub"])
        return {**claims, **{name: more[name] for name in missing if name in more}}

    async def _userinfo(self, metadata: Metadata, token: object, subject: str) -> Mapping[str, Any]:
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            return {}
        answer = await fetch(self._way, metadata.userinfo, headers={"Authorization": f"Bearer {token}"})
        if answer.status != 200:
            raise BadIssuer(f"its userinfo is refused (HTTP {answer.status})")
        if answer.document.get("sub") != subject:
            raise BadIssuer("its userinfo is of somebody else, or no plain JSON")
        return answer.document

    async def _ask_for_tokens(self, metadata: Metadata, form: Mapping[str, str]) -> Answer:
        if metadata.takes_secret_in_form:
            return await fetch(
                self._way, metadata.token, form={**form, "client_id": self._client_id, "client_secret": self._secret}
            )
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"  # encoded first: RFC 6749, 2.3.1
        basic = base64.b64encode(pair.encode()).decode()
        return await fetch(self._way, metadata.token, form=form, headers={"Authorization": f"Basic {basic}"})

    async def _discover(self) -> Metadata:
        issuer = self._way.checked(self._issuer, "issuer")
        answer = await fetch(self._way, discovery.address_of(issuer))
        if answer.status != 200:
            raise BadIssuer(f"{discovery.address_of(issuer)} is answered with HTTP {answer.status}")
        return discovery.read(answer.document, issuer, self._way.checked)

    async def _key_set(self) -> Mapping[str, Any]:
        answer = await fetch(self._way, (await self.metadata()).keys)
        if answer.status != 200:
            raise BadIssuer(f"its keys are answered with HTTP {answer.status}")
        return answer.document


def challenge_of(verifier: str) -> str:
    """S256 of PKCE (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
