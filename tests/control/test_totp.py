"""Codes of authenticator apps, by the vectors of the RFC."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from clawloops.control import totp

SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_rfc_6238_appendix_b(at: int, code: str) -> None:
    step = at * 1000 // totp.STEP_MS
    assert totp.code_of(SECRET, step, digits=8) == code
    assert totp.step_of(SECRET, code[2:], now=at * 1000) == step


def test_one_step_before_and_after_is_taken_and_no_other() -> None:
    now = 1_800_000_000_000
    step = now // totp.STEP_MS
    for off in range(-3, 4):
        found = totp.step_of(SECRET, totp.code_of(SECRET, step + off), now=now)
        assert found == (step + off if abs(off) <= 1 else None)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "é"])
def test_what_is_no_code_fits_no_step(code: str) -> None:
    assert totp.step_of(SECRET, code, now=0x8000_0000) is None


def test_a_secret_has_160_bits_and_an_app_finds_it_in_the_address() -> None:
    secret = totp.new_secret()
    assert len(base64.b32decode(secret)) == 20 and secret != totp.new_secret()
    address = urlsplit(totp.address_of(secret, issuer="ClawLoops", name="ada@box.example:8443"))
    assert (address.scheme, address.netloc, address.path) == (
        "otpauth", "totp", "/ClawLoops:ada%40box.example%3A8443",
    )  # fmt: skip
    assert parse_qs(address.query) == {"secret": [secret], "issuer": ["ClawLoops"]}
