"""What axe-core finds about a page that people with a screen reader, without a mouse or with weak eyes stumble over."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.async_playwright import Axe
from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe as AxeInTurn
from playwright.async_api import Page
from playwright.sync_api import Page as PageInTurn

_OPTIONS = {"resultTypes": ["violations"]}


async def look(page: Page) -> list[str]:
    """One text for each finding, of whatever impact; empty when there is none."""
    return _told(await Axe().run(page, options=_OPTIONS))


def look_in_turn(page: PageInTurn) -> list[str]:
    """The same for Playwright's synchronous pages."""
    return _told(AxeInTurn().run(page, options=_OPTIONS))


def _told(results: AxeResults) -> list[str]:
    return [_words(each) for each in results.response["violations"]]


def _words(finding: dict[str, Any]) -> str:
    where = "; ".join(str(node["html"])[:150] for node in finding["nodes"][:3])
    return f"{finding['impact']}: {finding['help']} ({finding['id']}): {where}"
