"""A headless Chromium with a home of its own, which trusts the install's CA where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.e2e.appliance import Appliance, run

CHROMIUM = "/usr/bin/chromium"
PATIENCE_MS = 20_000
_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _trust(home: Path, certificate: bytes) -> None:
    """Chromium on Linux reads the authorities that a user trusts from this NSS database."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True, exist_ok=True)
    (home / "ca.crt").write_bytes(certificate)
    run("certutil", "-d", f"sql:{database}", "-N", "--empty-password")
    run("certutil", "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "clawloops", "-i", str(home / "ca.crt"))


@contextmanager
def chromium(appliance: Appliance, home: Path) -> Iterator[Browser]:
    """A browser in which the names of this appliance lead to this machine."""
    home.mkdir(parents=True, exist_ok=True)
    arguments = list(_ARGS)
    if appliance.mode.domain:
        _trust(home, appliance.certificate())
        arguments.append(f"--host-resolver-rules=MAP *.{appliance.base} 127.0.0.1,MAP {appliance.base} 127.0.0.1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, env={**os.environ, "HOME": str(home)}
        )
        try:
            yield browser
        finally:
            browser.close()


def person(browser: Browser) -> BrowserContext:
    """A browser window of somebody who has never been here."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(PATIENCE_MS)
    context.set_default_navigation_timeout(2 * PATIENCE_MS)
    return context
