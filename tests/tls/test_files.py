"""Given files: checked when they change, and served to whoever comes next."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key

from clawloops.certificates.__main__ import Given, look
from clawloops.certificates.authority import Authority, new_authority
from clawloops.certificates.handed import Handed
from clawloops.certificates.pair import Pair
from clawloops.model.certificate import Tls
from tests.tls.front import BASE, Front

NOW = datetime.now(UTC)


class Certbot:
    """Files as certbot keeps them: links in live/ to numbered ones in archive/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "letsencrypt"
        self.live, self._archive = (self.folder / each / BASE for each in ("live", "archive"))
        for each in (self.live, self._archive):
            each.mkdir(parents=True)
        self._number = 0

    def renew(self, pair: Pair, key: str = "") -> None:
        self._number += 1
        for name, text in (("fullchain", pair.chain), ("privkey", key or pair.key)):
            (self._archive / f"{name}{self._number}.pem").write_text(text)
            link = self.live / f"{name}.new"
            link.symlink_to(f"../../archive/{BASE}/{name}{self._number}.pem")
            link.replace(self.live / f"{name}.pem")

    @property
    def paths(self) -> dict[str, Path]:
        return {"TLS_CERTIFICATE": self.live / "fullchain.pem", "TLS_KEY": self.live / "privkey.pem"}


@pytest.fixture
def public() -> Authority:
    return new_authority(BASE, now=NOW - timedelta(days=100))


@pytest.mark.docker
async def test_a_renewed_file_is_served_to_new_connections_and_a_broken_one_is_told_and_not_served(
    front: Front, public: Authority, tmp_path: Path
) -> None:
    trusted, certbot = tmp_path / "public.pem", Certbot(tmp_path)
    trusted.write_bytes(public.certificate.public_bytes(Encoding.PEM))
    certbot.renew(public.sign(BASE, now=NOW - timedelta(days=60)))
    front.render(Tls.FILES, **certbot.paths)
    context, certificates = ssl.create_default_context(cafile=trusted), front.certificates(Tls.FILES)
    with front.keeper(Tls.FILES, **certbot.paths), front.running():
        front.wait_for(BASE, trusted)
        first, started = front.shown(BASE, context), front.started_at()
        certbot.renew(public.sign(BASE, now=NOW))
        front.wait_for(f"x.ws.{BASE}", trusted, other_than=first)
        good = front.shown(BASE, context)
        certbot.renew(public.sign(BASE, now=NOW), key=public.sign(BASE, now=NOW).key)
        until = time.monotonic() + 15
        while not (standing := await certificates.look()).problem:
            assert time.monotonic() < until
        assert "is not the one of the certificate" in standing.problem and standing.is_well
        assert front.shown(BASE, context) == good
        certbot.renew(public.sign(BASE, now=NOW))
        front.wait_for(BASE, trusted, other_than=good)
        assert front.started_at() == started
        while (await certificates.look()).problem:
            assert time.monotonic() < until + 15


def _wrong_key(pair: Pair, public: Authority) -> tuple[str, str]:
    return pair.chain, public.sign(BASE, now=NOW).key


def _reversed(pair: Pair, public: Authority) -> tuple[str, str]:
    return public.certificate.public_bytes(Encoding.PEM).decode() + pair.chain, pair.key


def _locked(pair: Pair, _: Authority) -> tuple[str, str]:
    key = load_key(pair.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return pair.chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()


def _other_kind(pair: Pair, _: Authority) -> tuple[str, str]:
    key = ed25519.Ed25519PrivateKey.generate()
    return pair.chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda pair, _: ("", pair.key), "holds no certificate"),
        (lambda pair, _: (pair.chain[:300], pair.key), "holds no certificate"),
        (lambda pair, _: (pair.chain, ""), "holds no private key"),
        (_wrong_key, "is not the one of the certificate"),
        (_reversed, "does not begin with this box's own certificate"),
        (_locked, "protected by a password"),
        (_other_kind, "a kind that browsers do not take"),
        (lambda _, by: _files(by.sign(BASE, now=NOW - timedelta(days=91))), "ended on"),
        (lambda _, by: _files(by.sign(BASE, now=NOW + timedelta(days=1))), "begins only on"),
        (lambda _, by: _files(by.sign("other.test", now=NOW)), f"is not for {BASE}"),
        (lambda _, by: _files(by.sign(f"ws.{BASE}", now=NOW)), f"is not for {BASE}"),
    ],
)
def test_files_that_no_browser_would_take_are_told_and_the_last_good_ones_stay(
    tmp_path: Path, public: Authority, break_it: Callable[[Pair, Authority], tuple[str, str]], why: str
) -> None:
    (tmp_path / "dynamic").mkdir()
    certificate, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    source, handed = Given(BASE, certificate, key), Handed(tmp_path / "dynamic", tmp_path / "problem")
    good = public.sign(BASE, now=NOW)
    certificate.write_text(good.chain)
    key.write_text(good.key)
    look(source, handed)
    assert handed.pair() == good and not (tmp_path / "problem").exists()
    chain, secret = break_it(good, public)
    certificate.write_text(chain)
    key.write_text(secret)
    look(source, handed)
    assert why in (tmp_path / "problem").read_text() and handed.pair() == good
    key.unlink()
    look(source, handed)
    assert f"{key} cannot be used: No such file" in (tmp_path / "problem").read_text() and handed.pair() == good


def _files(pair: Pair) -> tuple[str, str]:
    return pair.chain, pair.key


def test_nobody_having_renewed_it_is_told_before_the_end(tmp_path: Path, public: Authority) -> None:
    (tmp_path / "dynamic").mkdir()
    handed = Handed(tmp_path / "dynamic", tmp_path / "problem")
    for days, told in ((70, False), (80, True)):
        pair = public.sign(BASE, now=NOW - timedelta(days=days))
        (tmp_path / "chain.pem").write_text(pair.chain)
        (tmp_path / "key.pem").write_text(pair.key)
        look(Given(BASE, tmp_path / "chain.pem", tmp_path / "key.pem"), handed)
        assert (tmp_path / "problem").exists() is told
        assert handed.pair() == pair
