"""Trips of a browser to an identity provider and back: each is good once, in that browser, for ten minutes.

All of a trip is in the `state` that goes along with it, sealed under a key of this process and bound to a random cookie
of the browser: nothing is kept for those who leave and never come back. Only used ones are remembered, until they have
ended. After a restart of the process none is good.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clawloops.clock import steady_ms
from clawloops.errors import BadInput
from clawloops.oidc.provider import Asking

VALID_MS = 10 * 60_000
_SWEEP_EVERY_MS = 60_000
_NONCE_BYTES = 12
TOO_LATE = "That took too long, or was begun in another browser. Try again."


class Purpose(StrEnum):
    SIGN_IN = "sign in"
    JOIN = "join"
    LINK = "link"
    PROOF = "proof"

    @property
    def is_anew(self) -> bool:
        """Whether the provider has to ask for a proof, whoever is signed in there."""
        return self in (Purpose.LINK, Purpose.PROOF)


@dataclass(frozen=True, slots=True)
class Trip:
    purpose: Purpose
    issuer: str
    client_id: str
    begun_at: int  # Unix ms
    onward: str = "/"  # a checked path of ours
    bound_to: str = ""  # of JOIN the invitation's link token; of LINK and PROOF the session's hash, in hex


class Trips:
    def __init__(self) -> None:
        self._sealing = AESGCM(AESGCM.generate_key(256))
        self._deriving = secrets.token_bytes(32)
        self._used: dict[bytes, int] = {}
        self._swept_at = 0

    def begin(self, trip: Trip, *, tied_to: str) -> Asking:
        """`tied_to`: the random cookie of the browser."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        said = json.dumps({**asdict(trip), "ends": steady_ms() + VALID_MS}).encode()
        sealed = nonce + self._sealing.encrypt(nonce, said, tied_to.encode())
        return self._asking(base64.urlsafe_b64encode(sealed).decode().rstrip("="), tied_to)

    def end(self, state: str, *, tied_to: str) -> tuple[Trip, Asking]:
        """Use one up. Raises BadInput when it is none of ours in this browser, has ended, or was used."""
        try:
            sealed = base64.b64decode(state + "=" * (-len(state) % 4), altchars=b"-_", validate=True)
            said = self._sealing.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], tied_to.encode())
        except (InvalidTag, ValueError, binascii.Error):
            raise BadInput(TOO_LATE) from None
        parts, now = json.loads(said), steady_ms()
        ends, mark = parts.pop("ends"), hashlib.sha256(sealed).digest()
        if not tied_to or ends <= now or mark in self._used:
            raise BadInput(TOO_LATE)
        if now - self._swept_at >= _SWEEP_EVERY_MS:
            self._used = {each: until for each, until in self._used.items() if until > now}
            self._swept_at = now
        self._used[mark] = ends
        return Trip(**{**parts, "purpose": Purpose(parts["purpose"])}), self._asking(state, tied_to)

    def _asking(self, state: str, tied_to: str) -> Asking:
        return Asking(state, self._derived("nonce", state, tied_to), self._derived("verifier", state, tied_to))

    def _derived(self, what: str, state: str, tied_to: str) -> str:
        """43 characters of URL-safe base64, which nobody knows who has not this process' key."""
        raw = hmac.digest(self._deriving, "\0".join((what, tied_to, state)).encode(), "sha256")
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
