"""Draws a page in light and dark, on desktop and phone; it is clean to axe and no wider than its window."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from playwright.async_api import Browser, Page

from clawloops.model.account import User
from clawloops.web.context import FIRST_RUN
from tests import axe, english
from tests.web.box import Box
from tests.web.desk import Desk


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at."""

    scheme: Literal["light", "dark"]
    width: int
    is_read: bool = False  # by axe
    locale: str = "en-US"

    @property
    def name(self) -> str:
        return f"{self.scheme}-{self.width}{'' if self.locale == 'en-US' else '-' + self.locale}"


LOOKS = (
    Look("light", 1180, is_read=True),
    Look("dark", 1180),
    Look("light", 390),
    Look("dark", 390, is_read=True),
    Look("light", 1180, locale="zh-CN"),
)


class Draw(Protocol):
    async def __call__(
        self,
        name: str,
        path: str,
        *,
        signed_in: bool = True,
        go: Callable[[Page], Awaitable[None]] | None = None,
        prepare: str = "",
    ) -> None:
        """`go`: what is done on the page first; `prepare`: a script that is run then."""


def drawing(box: Box, browser: Browser, user: User, folder: Path) -> Draw:
    """What draws for one user, into a folder."""

    async def draw(
        name: str,
        path: str,
        *,
        signed_in: bool = True,
        go: Callable[[Page], Awaitable[None]] | None = None,
        prepare: str = "",
    ) -> None:
        for look in LOOKS:
            if go is not None and look.locale != "en-US":
                continue  # it finds its way by English words
            context = await browser.new_context(
                color_scheme=look.scheme, viewport={"width": look.width, "height": 820}, locale=look.locale
            )
            desk = Desk(box, context)
            desk.expect_complaints("Failed to load resource")
            if signed_in:
                await desk.sign_in(user)
            page = await context.new_page()
            await page.goto(path if path.startswith("http") else box.site.origin + path)
            if go is not None:
                await go(page)
            if prepare:
                await page.evaluate(prepare)
            await page.screenshot(path=folder / f"{name}-{look.name}.png", full_page=True)
            overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{name} is {overflow} pixels too wide at {look.width}"
            assert not look.is_read or not (found := await axe.look(page)), f"{name}: {found}"
            if look.locale != "en-US":
                assert not (left := await english.left_on(page)), f"{name} is not all in {look.locale}: {left}"
            assert (desk.complaints, desk.elsewhere) == ([], [])
            await context.close()

    return draw


def reading(text: str) -> Callable[[Page], Awaitable[None]]:
    """Waits until it stands there."""

    async def go(page: Page) -> None:
        await page.get_by_text(text).first.wait_for()

    return go


async def without_first_steps(box: Box, owner: User) -> None:
    """Nobody is led to them any more."""
    if box.dashboard is not None:
        await box.dashboard.app[FIRST_RUN].dismiss(by=owner)
        await box.dashboard.app[FIRST_RUN].load()
