"""Codes of authenticator apps: TOTP (RFC 6238) over HMAC-SHA-1, six digits, a new one every 30 seconds."""

from __future__ import annotations

import base64
import hmac
import secrets
from urllib.parse import quote

STEP_MS = 30_000
DIGITS = 6
DRIFT = 1  # steps before and after the current one whose codes are taken, too: clocks differ


def new_secret() -> str:
    """160 random bits in Base32, as people type them into an app (RFC 4226, 4 R6 recommends that length)."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def code_of(secret: str, step: int, *, digits: int = DIGITS) -> str:
    """The code of a step of 30 s since 1970 (RFC 4226, 5.3: dynamic truncation)."""
    mac = hmac.digest(base64.b32decode(secret), step.to_bytes(8, "big"), "sha1")
    at = mac[-1] & 0x0F
    number = int.from_bytes(mac[at : at + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}d}"


def step_of(secret: str, code: str, *, now: int) -> int | None:
    """The step, around the instant `now` (Unix ms), whose code this is; None when it is none of them."""
    current = now // STEP_MS
    found = None
    for step in range(current - DRIFT, current + DRIFT + 1):  # never left early: time tells nothing
        if hmac.compare_digest(code_of(secret, step).encode(), code.encode()):
            found = step
    return found


def address_of(secret: str, *, issuer: str, name: str) -> str:
    """What an app reads from the QR code (https://github.com/google/google-authenticator/wiki/Key-Uri-Format)."""
    label = f"{quote(issuer, safe='')}:{quote(name, safe='')}"
    return f"otpauth://totp/{label}?secret={secret}&issuer={quote(issuer, safe='')}"
