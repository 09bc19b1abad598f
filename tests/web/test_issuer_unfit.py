"""A provider that does not answer, answers too much, or cannot be used: what people are told, and how soon."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from clawloops.certificates.authority import new_authority
from clawloops.errors import BadInput
from clawloops.model.account import Role, User
from clawloops.oidc import fetch
from tests.oidc.crooked import Crooked, serving
from tests.web.box import Box
from tests.web.sign_on import come_back, is_out, leave, sign_in, trust_crooked
from tests.web.test_account import joined
from tests.web.test_second_step import Browser

pytestmark = pytest.mark.attacks(12)


@pytest.fixture
async def olga(box: Box) -> User:
    return await joined(box, "olga", Role.OWNER)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token", "/me"])
async def test_what_is_too_large_too_slow_or_elsewhere_is_not_taken(
    box: Box, olga: User, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "LIMIT_S", 0.4)
    for bend, told in (
        ({"padding": {path: fetch.LIMIT_BYTES}}, "more than 256 KiB"),
        ({"delay_s": {path: 2.0}}, "did not answer within"),
        ({"moved": {path: "https://evil.example/"}}, ""),
    ):
        async with serving(Crooked(claims={"name": None})) as crooked:
            await trust_crooked(box, olga, crooked)
            await box.issuers.load()  # knows nothing of it yet
            browser = Browser(box)
            if path == "/.well-known/openid-configuration":
                vars(crooked).update(bend)
                status, _, text = await browser.get("/sign-in/with")
                assert status == 503 and "Try again in a minute" in text and told in text, text
            else:
                state = await leave(browser, crooked)
                vars(crooked).update(bend)
                status, _, text = await come_back(browser, state)
                assert status in (401, 503) and "Other ways to sign in" in text and told in text, text
            assert is_out(browser)


async def test_a_provider_that_is_down_is_told_and_comes_back_by_itself(
    box: Box, olga: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    crooked = Crooked()
    async with serving(crooked):
        await trust_crooked(box, olga, crooked)
    await box.issuers.load()
    browser = Browser(box)
    for _ in range(2):
        status, _, text = await browser.get("/sign-in/with")
        assert status == 503 and "Castle does not work now" in text and "password" in text
    monkeypatch.setattr("clawloops.oidc.provider.FAILURE_KEPT_MS", 0)
    async with serving(crooked):
        assert (await come_back(browser, await leave(browser, crooked)))[0] == 303


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"issuer": "https://evil.example"}, "calls itself"),
        ({"token_endpoint": "http://10.0.0.1/token"}, "no https://"),
        ({"jwks_uri": "file:///etc/passwd"}, "no https://"),
        ({"jwks_uri": None}, "no https://"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "no https://"),
        ({"token_endpoint": "https://a:b@example.org/"}, "no https://"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "signs with none of"),
        ({"response_types_supported": ["id_token"]}, "code flow"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "no client secret"),
    ],
)
async def test_a_provider_that_cannot_be_used_is_refused_when_it_is_set_up(
    box: Box, olga: User, says: dict[str, Any], told: str
) -> None:
    async with serving(Crooked(says=says)) as crooked:
        with pytest.raises(BadInput, match=told) as refused:
            await trust_crooked(box, olga, crooked)
        assert refused.value.field == "issuer" and box.issuers.current is None


@pytest.mark.parametrize(
    "url", ["http://localhost/x", "https://127.0.0.1/token", "https://169.254.169.254/", "https://[::1]/", "ftp://a.b/"]
)
def test_a_provider_elsewhere_has_no_endpoint_on_this_machine(url: str) -> None:
    assert not fetch._is_address(url, may_be_plain=False)


@pytest.mark.parametrize("ca", ["x", "-----BEGIN CERTIFICATE-----\nMIIB\u00e9\n-----END CERTIFICATE-----", "\x00"])
def test_what_is_no_certificate_is_told_beside_its_field(ca: str) -> None:
    with pytest.raises(BadInput) as refused:
        fetch.trust_in(ca)
    assert refused.value.field == "ca"


async def test_an_authority_of_ones_own_is_trusted_and_no_other_one(box: Box, olga: User, tmp_path: Path) -> None:
    authority = new_authority("localhost", now=datetime.now(UTC))
    pair = authority.sign("localhost", now=datetime.now(UTC))
    file = tmp_path / "pair.pem"
    file.write_text(pair.key + pair.chain)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file)
    other = new_authority("localhost", now=datetime.now(UTC)).certificate.public_bytes(Encoding.PEM).decode()
    own = authority.certificate.public_bytes(Encoding.PEM).decode()
    async with serving(Crooked(scheme="https", host="localhost"), tls=tls) as crooked:
        for ca in ("", other):
            with pytest.raises(BadInput, match="is not trusted"):
                await trust_crooked(box, olga, crooked, ca=ca)
        await trust_crooked(box, olga, crooked, ca=own)
        assert (await sign_in(box, crooked))[1][0] == 303
