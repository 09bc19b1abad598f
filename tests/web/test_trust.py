"""What pages tell of certificates: how to trust the box's own, how it stands, and when a workspace waits for one."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clawloops.certificates.authority import new_authority
from clawloops.control import certificates
from clawloops.model.account import Role
from clawloops.model.certificate import Tls, describe
from clawloops.model.runtime import Phase
from clawloops.web import cookies
from tests.web.box import BASE, Box
from tests.web.shown import showing

NOW = datetime.now(UTC)


async def test_somebody_who_is_not_signed_in_learns_how_to_trust_the_box(box: Box, tmp_path: Path) -> None:
    assert 'href="/trust"' in await (await box.page("/sign-in")).text()
    page = await box.page("/trust")
    text = await page.text()
    assert page.status == 200 and 'href="/ca.crt" download' in text
    for system in ("Windows", "macOS", "iPhone and iPad", "Android", "Debian and Ubuntu", "Fedora", "Firefox"):
        assert system in text
    (tmp_path / "downloaded.crt").write_bytes(await (await box.ask("GET", "/ca.crt")).read())
    words = ["openssl", "x509", "-in", str(tmp_path / "downloaded.crt"), "-noout", "-fingerprint", "-sha256"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip().partition("=")[2]
    assert f"<code>{told[:48]}</code>" in text and f"<code>{told[48:]}</code>" in text


async def test_with_certificates_from_elsewhere_there_is_nothing_to_trust(box: Box) -> None:
    box.site = replace(box.site, ca_file=None)
    await box.close_dashboard()
    await box.open_dashboard()
    assert [(await box.page(path)).status for path in ("/trust", "/ca.crt")] == [404, 404]
    assert "/trust" not in await (await box.page("/sign-in")).text()


@pytest.mark.parametrize("tls", [Tls.ACME_HTTP, Tls.ACME_DNS])
async def test_nobody_is_led_to_a_workspace_before_its_host_has_a_certificate(
    box: Box, tmp_path: Path, tls: Tls
) -> None:
    mia = await box.member("mia")
    token, _ = await box.signed_in(mia)
    runtime = await box.workspace(mia, Phase.READY)
    authority = new_authority(BASE, now=NOW)
    async with showing(box, tmp_path, tls, authority.sign(f"other.{BASE}", now=NOW)) as shown:
        page = await box.page("/workspace/opening", token)
        if tls is Tls.ACME_DNS:  # one for all: it is there, or nothing works anyway
            assert page.status == 303
            return
        text = await page.text()
        assert page.status == 200 and "is on its way" in text and "data-go" not in text
        headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
        address = f"http://127.0.0.1:{box.site.port}/workspace/opening/live"
        async with asyncio.timeout(10), box.http.get(address, headers=headers) as stream:
            while b"is on its way" not in await stream.content.readuntil(b"\n\n"):
                pass
            shown.show(authority.sign(f"{runtime.slug}.ws.{BASE}", now=NOW))
            while b'data-go="http://' not in await stream.content.readuntil(b"\n\n"):
                pass
        shown.show(authority.sign(f"other.{BASE}", now=NOW))  # what was seen once is not looked at for each page
        assert (await box.page("/workspace/opening", token)).status == 303


@pytest.mark.parametrize(
    ("days_ago", "problem", "tone", "told"),
    [
        (0, "", "ok", "It ends in 89 days"),
        (80, "nobody has renewed it", "busy", "It ends in 9 days"),
        (91, "", "bad", "It ended 1 day ago"),
    ],
)
async def test_admins_see_how_it_stands_with_the_certificate(
    box: Box, tmp_path: Path, days_ago: int, problem: str, tone: str, told: str
) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    assert "Certificate</h2>" not in await (await box.page("/box", token)).text()
    if problem:
        (tmp_path / "problem").write_text(f"<b>{problem}</b>")
    authority = new_authority(BASE, now=NOW - timedelta(days=200))
    async with showing(box, tmp_path, Tls.FILES, authority.sign(BASE, now=NOW - timedelta(days=days_ago))):
        text = await (await box.page("/box", token)).text()
        assert f'<p class="state {tone}" id="certificate-state">{told}</p>' in text
        assert f"{BASE}, *.ws.{BASE}" in text and f"ClawLoops authority for {BASE}" in text
        assert ("&lt;b&gt;nobody has renewed it" in text) is bool(problem)


async def test_a_certificate_for_somebody_else_or_none_is_told_as_none(box: Box, tmp_path: Path) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    async with showing(box, tmp_path, Tls.OWN, new_authority(BASE, now=NOW).sign("x.test", now=NOW)):
        assert "None is served that fits" in await (await box.page("/box", token)).text()
    standing = await box.certificates.look()  # nobody listens any more
    assert standing.served is None and not standing.is_good


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("the key is not\nthe one\x00", "the key is not the one"),
        ('2026 ERR Unable to obtain … error="say \\"no\\"\\nto it" domains=["x"]', 'say "no" to it'),
        ("x" * 900, "x" * 699 + "…"),
    ],
)
def test_a_line_of_traefiks_log_is_told_as_a_person_reads_it(line: str, read: str) -> None:
    assert certificates.plain(line) == read


def test_an_error_of_a_renewal_is_forgotten_once_there_is_a_newer_certificate(tmp_path: Path) -> None:
    (tmp_path / "problem").write_text('ERR Error renewing ACME certificate error="no way" x')
    looking = certificates.Certificates(Tls.ACME_DNS, BASE, address="", problem=tmp_path / "problem")
    authority = new_authority(BASE, now=NOW - timedelta(days=100))
    for age, told in ((1, "no way"), (-1, "")):
        leaf = describe(authority.sign(BASE, now=NOW - timedelta(days=age)).leaf)
        assert looking._problem_since(leaf) == told
