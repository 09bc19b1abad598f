"""The box's own authority: what it signs is renewed while Traefik runs, and it can speak for nothing else."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from clawloops.certificates.__main__ import Own, look, source_of
from clawloops.certificates.authority import keep_authority, new_authority
from clawloops.certificates.handed import Handed
from clawloops.config import load
from clawloops.errors import SetupError
from clawloops.model.certificate import Tls, describe, lifetime
from tests.tls.front import BASE, Front

NOW = datetime.now(UTC)


@pytest.mark.docker
def test_a_certificate_near_its_end_is_renewed_while_traefik_runs(front: Front) -> None:
    front.render(Tls.OWN)
    trusted, handed = front.data / "tls" / "ca.crt", Handed(front.data / "traefik" / "dynamic", front.data / "problem")
    with front.keeper(Tls.OWN), front.running():
        found = front.wait_for(BASE, trusted)
        front.wait_for(f"any.ws.{BASE}", trusted)
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            front.shown(f"a.b.ws.{BASE}", ssl.create_default_context(cafile=trusted))
        assert lifetime(found) <= timedelta(days=397)
        authority = keep_authority(front.data / "authority" / "ca.key", trusted, BASE, now=NOW)
        old = authority.sign(BASE, now=NOW - timedelta(days=61))
        started = front.started_at()
        handed.hand(old)
        renewed = front.wait_for(BASE, trusted, other_than=found.public_bytes(Encoding.PEM).decode())
        while renewed == old.leaf:  # it was served for a moment
            renewed = front.wait_for(BASE, trusted, other_than=old.chain)
        assert renewed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=80)
        assert front.started_at() == started


@pytest.mark.docker
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_protocols_and_ciphers_are_refused(front: Front) -> None:
    front.render(Tls.OWN)
    with front.keeper(Tls.OWN), front.running():
        trusted = front.data / "tls" / "ca.crt"
        front.wait_for(BASE, trusted)
        for version, ciphers in (
            (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
            (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"),
        ):
            old = ssl.create_default_context(cafile=trusted)
            old.minimum_version, old.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, version
            old.set_ciphers(ciphers)
            with pytest.raises(ssl.SSLError, match="alert"):
                front.shown(BASE, old)
        good = ssl.create_default_context(cafile=trusted)
        good.maximum_version = ssl.TLSVersion.TLSv1_2
        front.shown(BASE, good)
        assert "Strict-Transport-Security" not in front.headers(
            BASE
        )  # who has not been told could not be told to go on
        standing = await front.certificates(Tls.OWN).look()
        assert standing.is_well and standing.problem == "" and standing.text == "it ends in 89 days"
        assert standing.served is not None and standing.served.names == (BASE, f"*.ws.{BASE}")


@pytest.mark.parametrize("name", ["evil.example", "claw.test.evil.example", "evilclaw.test"])
def test_a_stolen_key_of_the_authority_speaks_for_no_other_name(tmp_path: Path, name: str) -> None:
    authority = new_authority(BASE, now=NOW)
    assert lifetime(authority.certificate) < timedelta(days=3651)
    (tmp_path / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    for host in (BASE, name):
        (tmp_path / "leaf.pem").write_text(authority.sign(host, now=NOW).chain)
        words: list[str | Path] = ["openssl", "verify", "-purpose", "sslserver", "-CAfile", tmp_path / "ca.pem"]
        words.append(tmp_path / "leaf.pem")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is (host == BASE), done.stderr
    assert "permitted subtree violation" in done.stderr + done.stdout


def _own(folder: Path, base: str = BASE) -> tuple[Own, Handed]:
    (folder / "dynamic").mkdir(exist_ok=True)
    return Own(base, folder / "ca.key", folder / "ca.crt"), Handed(folder / "dynamic", folder / "problem")


def test_a_second_look_changes_nothing_and_secrets_are_private(tmp_path: Path) -> None:
    source, handed = _own(tmp_path)
    look(source, handed)
    first = (tmp_path / "dynamic" / "certificate.yml").read_text()
    look(source, handed)
    assert (tmp_path / "dynamic" / "certificate.yml").read_text() == first
    for secret in (tmp_path / "ca.key", tmp_path / "dynamic" / "certificate.yml"):
        assert secret.stat().st_mode & 0o077 == 0
    assert (tmp_path / "ca.crt").stat().st_mode & 0o777 == 0o644 and not (tmp_path / "problem").exists()


@pytest.mark.faults
@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\0" * 40_000])
def test_what_is_handed_over_is_made_good_again_whatever_has_become_of_it(tmp_path: Path, damage: bytes) -> None:
    source, handed = _own(tmp_path)
    look(source, handed)
    (tmp_path / "dynamic" / "certificate.yml").write_bytes(damage)
    look(source, handed)
    pair = handed.pair()
    assert pair is not None and describe(pair.leaf).covers(BASE)


@pytest.mark.faults
def test_a_key_that_is_not_the_certificates_is_not_left_to_traefik(tmp_path: Path) -> None:
    source, handed = _own(tmp_path)
    look(source, handed)
    good = handed.pair()
    assert good is not None
    handed.hand(replace(good, key=new_authority(BASE, now=NOW).sign(BASE, now=NOW).key))
    assert handed.pair() is None
    look(source, handed)
    assert handed.pair() is not None


@pytest.mark.faults
def test_an_authority_that_people_trust_is_never_replaced_because_its_file_is_damaged(tmp_path: Path) -> None:
    source, handed = _own(tmp_path)
    look(source, handed)
    served, trusted = handed.pair(), (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "ca.key").write_bytes((tmp_path / "ca.key").read_bytes()[:60])
    look(source, handed)
    assert "damaged" in (tmp_path / "problem").read_text() and "backup" in (tmp_path / "problem").read_text()
    (tmp_path / "ca.key").write_text(new_authority(BASE, now=NOW).sign(BASE, now=NOW).key)
    look(source, handed)
    assert "is not the key of" in (tmp_path / "problem").read_text()
    assert (handed.pair(), (tmp_path / "ca.crt").read_bytes()) == (served, trusted)


_OLD_AUTHORITY = f"""[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
O = ClawLoops
CN = ClawLoops authority for {BASE}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
nameConstraints = critical, permitted;DNS:{BASE}, excluded;IP:0.0.0.0/0.0.0.0
"""


@pytest.mark.docker
def test_the_authority_of_an_older_install_is_kept_and_its_key_leaves_the_control_planes_folder(front: Front) -> None:
    for folder in ("keys", "tls"):
        (front.data / folder).mkdir(parents=True)
    key, trusted = front.data / "keys" / "ca.key", front.data / "tls" / "ca.crt"
    for name in ("server.key", "server.crt"):
        (front.data / "tls" / name).write_text("of before")
    (front.data / "old.cnf").write_text(_OLD_AUTHORITY)
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "3650",
    ]
    make += ["-config", str(front.data / "old.cnf"), "-keyout", str(key), "-out", str(trusted)]
    subprocess.run(make, check=True, capture_output=True)
    before = trusted.read_bytes()
    front.render(Tls.OWN)
    with front.keeper(Tls.OWN), front.running():
        assert describe(front.wait_for(f"any.ws.{BASE}", trusted)).names == (BASE, f"*.ws.{BASE}")
    assert trusted.read_bytes() == before and not key.exists()
    assert [each.name for each in (front.data / "tls").iterdir()] == ["ca.crt"]


def test_another_base_name_gets_an_authority_of_its_own(tmp_path: Path) -> None:
    look(*_own(tmp_path))
    before = (tmp_path / "ca.crt").read_bytes()
    source, handed = _own(tmp_path, "other.test")
    look(source, handed)
    pair = handed.pair()
    assert (tmp_path / "ca.crt").read_bytes() != before
    assert pair is not None and describe(pair.leaf).names == ("other.test", "*.ws.other.test")


def test_an_authority_that_nears_its_end_is_told_and_signs_on(tmp_path: Path) -> None:
    source, handed = _own(tmp_path)
    keep_authority(tmp_path / "ca.key", tmp_path / "ca.crt", BASE, now=NOW - timedelta(days=3650 - 20))
    look(source, handed)
    pair = handed.pair()
    assert pair is not None and pair.leaf.not_valid_after_utc < NOW + timedelta(days=21)
    assert "authority ends on" in (tmp_path / "problem").read_text()
    look(source, handed)
    assert handed.pair() == pair, "it was signed again, though it cannot last longer"


@pytest.mark.parametrize(
    "aged", [{"now": NOW - timedelta(days=60, hours=1)}, {"now": NOW + timedelta(days=2)}, {"base": "else.test"}]
)
def test_it_is_signed_anew_when_it_is_another_names_or_soon_ends_or_is_of_the_future(aged: dict[str, object]) -> None:
    authority = new_authority(BASE, now=NOW - timedelta(days=100))
    assert not authority.would_renew(authority.sign(BASE, now=NOW - timedelta(days=59)).leaf, BASE, now=NOW)
    given = {"base": BASE, "now": NOW, **aged}
    assert authority.would_renew(authority.sign(**given).leaf, BASE, now=NOW)  # type: ignore[arg-type]
    assert authority.would_renew(new_authority(BASE, now=NOW).sign(BASE, now=NOW).leaf, BASE, now=NOW)


def test_a_certificate_that_is_no_longer_ours_to_make_is_refused() -> None:
    with pytest.raises(SetupError, match="nothing to do here"):
        source_of(load({"CLAWLOOPS_INSTALL_ID": "0a0b0c0d", "CLAWLOOPS_TLS": "acme-dns", "CLAWLOOPS_BASE": BASE}))
