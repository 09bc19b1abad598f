"""What install.sh says to a way of having certificates that cannot work, before it changes anything."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clawloops.certificates.authority import new_authority
from tests.install.test_refusals import Checkout, checkout, refused

__all__ = ["checkout"]

pytestmark = pytest.mark.docker

BASE = "claw.test"
NOW = datetime.now(UTC)
PORTS = ["--http-port", "18080", "--https-port", "18443"]


def _given(checkout: Checkout, *words: str) -> list[str]:
    return ["--data", str(checkout.data), "--domain", BASE, *PORTS, *words]


@pytest.mark.parametrize(
    ("arguments", "what", "next_step"),
    [
        (["--tls", "letsencrypt"], "'letsencrypt' is no way to have certificates", "own, acme-http, acme-dns or files"),
        (["--tls", "none"], "plain HTTP works only for *.localhost", "leave --tls out"),
        (["--tls", "acme-http"], "needs an address for the authority to write to", "--email you@example.org"),
        (["--tls", "acme-http", "--email", "ada"], "and ada is none", "--email you@example.org"),
        (["--tls", "acme-dns", "--email", "a@b.test"], "the name of your DNS provider", "--dns-provider"),
        (["--tls", "acme-dns", "--email", "a@b.test", "--dns-provider", "exec"], "'exec' is not supported", "rfc2136"),
        (
            ["--tls", "acme-dns", "--email", "a@b.test", "--dns-provider", "cloudflare"],
            "there are no credentials for the DNS provider cloudflare",
            "--dns-credentials",
        ),
        (
            ["--tls", "acme-dns", "--email", "a@b.test", "--dns-provider", "cloudflare", "--dns-credentials", "/no/x"],
            "'/no/x' is not a file that can be read",
            "NAME=value",
        ),
        (
            ["--tls", "acme-http", "--email", "a@b.test", "--acme-directory", "http://ca.test/dir"],
            "is not the https address",
            "leave it out",
        ),
        (
            ["--tls", "acme-http", "--email", "a@b.test", "--acme-ca", "/etc/hostname"],
            "is not a file with a certificate",
            "signed with",
        ),
        (["--tls", "files"], "--tls files needs two files", "--certificate FILE"),
        (["--certificate", "/no/c.pem", "--key", "/no/k.pem"], "/no/c.pem is not a file that can be read", "paths"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(
    checkout: Checkout, arguments: list[str], what: str, next_step: str
) -> None:
    refused(checkout, checkout.run(*_given(checkout, *arguments)), what, next_step)


def test_a_box_on_localhost_gets_no_certificate_from_elsewhere(checkout: Checkout) -> None:
    for tls in ("acme-http", "acme-dns", "files", "own"):
        result = checkout.run("--data", str(checkout.data), "--http-port", "18080", "--tls", tls, "--email", "a@b.test")
        refused(checkout, result, f"--tls {tls} needs a name of your own", "--domain claw.example.org")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("CF_DNS_API_TOKEN=abc\nexport CF_X=1\n", "line 2"),
        ('# mine\n\nCF_DNS_API_TOKEN="abc"\n', "line 3"),
        ("CF DNS=1\nA=b\nwhat\n", "line 1 3"),
        ("# nothing yet\n", "holds no credentials"),
    ],
)
def test_credentials_that_would_be_read_otherwise_than_meant_are_refused(
    checkout: Checkout, text: str, line: str
) -> None:
    (checkout.path / "dns").write_text(text)
    words = ["--tls", "acme-dns", "--email", "a@b.test", "--dns-provider", "cloudflare"]
    result = checkout.run(*_given(checkout, *words, "--dns-credentials", str(checkout.path / "dns")))
    refused(checkout, result, line, "NAME=value")
    assert "abc" not in result.stdout + result.stderr


def test_given_files_that_browsers_would_refuse_are_refused(checkout: Checkout) -> None:
    public = new_authority(BASE, now=NOW - timedelta(days=100))
    good, ended = public.sign(BASE, now=NOW), public.sign(BASE, now=NOW - timedelta(days=91))
    other, bare = public.sign("other.test", now=NOW), public.sign(f"ws.{BASE}", now=NOW)
    for chain, key, what, next_step in (
        ("no certificate", good.key, "holds no certificate in PEM form", "fullchain.pem"),
        (good.chain, "no key", "holds no private key in PEM form", "privkey.pem"),
        (good.chain, other.key, "is not the key of", "that belong together"),
        (ended.chain, ended.key, "has ended", "renew it"),
        (other.chain, other.key, f"is not for {BASE}", "*.ws.claw.test"),
        (bare.chain, bare.key, f"is not for {BASE}", "--tls own, acme-dns or acme-http"),
    ):
        given = checkout.path / "given"
        given.mkdir(exist_ok=True)
        (given / "chain.pem").write_text(chain)
        (given / "key.pem").write_text(key)
        words = ["--certificate", str(given / "chain.pem"), "--key", str(given / "key.pem")]
        refused(checkout, checkout.run(*_given(checkout, *words)), what, next_step)


def test_files_that_have_only_a_great_folder_in_common_are_refused(checkout: Checkout) -> None:
    pair = new_authority(BASE, now=NOW).sign(BASE, now=NOW)
    (checkout.path / "chain.pem").write_text(pair.chain)
    key = Path(f"/var/tmp/clawloops-test-{os.getpid()}.pem")
    key.write_text(pair.key)
    try:
        words = ["--certificate", str(checkout.path / "chain.pem"), "--key", str(key)]
        refused(checkout, checkout.run(*_given(checkout, *words)), "have only / in common", "one folder of their own")
    finally:
        key.unlink()
