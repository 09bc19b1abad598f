"""The pages around inviting people, and what a viewer sees, drawn as `test_gallery` draws the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from clawloops.clock import now_ms
from clawloops.model.account import Guest, Role, User
from clawloops.model.mail import DeliveryState, MailServer, Security
from clawloops.model.runtime import Phase
from clawloops.store import deliveries, mail_server
from tests.web import scenes
from tests.web.box import Box
from tests.web.desk import browser
from tests.web.drawing import drawing, without_first_steps
from tests.web.test_account import joined

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.limit(600)]

WRONG = "Ada Lovelace, ada@example.com, Desing team\nKen, ken@example\nEve, eve@example.com, , boss\n"
RIGHT = "Ada Lovelace; ada@example.com; Design team\nBarbara Liskov; barbara@example.com; ; viewer\n"


def _folder(artifacts: Path) -> Path:
    folder = artifacts / "pages"
    folder.mkdir(exist_ok=True)
    return folder


def _inviting(text: str) -> Callable[[Page], Awaitable[None]]:
    """Sends the list of people on the page."""

    async def go(page: Page) -> None:
        await page.get_by_label("People").fill(text)
        await page.get_by_role("button", name="Invite them").click()
        await page.wait_for_selector("#f-list-note.error, #links-title")

    return go


async def _with_mail(box: Box, owner: User) -> None:
    """A mail server, and e-mails in each state."""
    server = MailServer("smtp.example.com", 587, Security.STARTTLS, "box@example.com", "clawloops@example.com")
    await mail_server.put(box.db, box.sealer, server, "a password")
    await box.mailing.load()
    guests = [Guest(each.title(), email=f"{each}@example.com") for each in ("alan", "edsger", "frances", "tony")]
    await box.invitations.invite_by_mail(guests, by=owner, language="en")
    busy = "The mail server said: 451 4.7.1 <edsger@example.com>: greylisted, see http://postgrey.example.com/help?x=1"
    none = "The mail server said: 550 5.1.1 <frances@example.com>: nobody of that name is here"
    found = {each.recipient: each for each in await box.invitations.deliveries()}
    for name, state, wait_ms, said in (
        ("alan", DeliveryState.SENT, 0, "2.0.0 queued"),
        ("edsger", DeliveryState.WAITING, 240_000, busy),
        ("frances", DeliveryState.FAILED, 0, none),
    ):
        each = found[f"{name}@example.com"]
        await deliveries.note(box.db, replace(each, state=state, tries=1, next_at=now_ms() + wait_ms, said=said))


async def test_inviting_and_passwords_are_drawn(box: Box, browser: Browser, artifacts: Path) -> None:
    olga = await joined(box, "olga", Role.OWNER)
    draw = drawing(box, browser, olga, _folder(artifacts))
    await without_first_steps(box, olga)
    await scenes.with_models(box)
    await scenes.with_people(box, olga)
    await scenes.with_groups(box, olga)
    await draw("14-guests", "/members/list")
    await draw("14-guests-wrong", "/members/list", go=_inviting(WRONG))
    await draw("14-guests-links", "/members/list", go=_inviting(RIGHT))
    for each in (await box.invitations.open())[:-1]:
        await box.invitations.withdraw(each.id, by=olga)
    await draw("14-mail-none", "/members/mail")
    await _with_mail(box, olga)
    await draw("14-mail", "/members/mail", prepare=scenes.opened("details"))
    await draw("14-members-mail", "/members")
    grace = next(each for each in box.accounts.members() if each.login == "grace")
    await draw("14-reset", await box.resets.make(grace.id, drops_factors=True, by=olga), signed_in=False)
    await draw("14-member-reset", f"/members/{grace.id}", go=scenes.sending(f"/members/{grace.id}/reset"))


async def test_what_a_viewer_sees_is_drawn(box: Box, browser: Browser, artifacts: Path) -> None:
    olga, vic = await joined(box, "olga", Role.OWNER), await joined(box, "vic", Role.VIEWER)
    await scenes.with_models(box)
    await scenes.with_people(box, olga)
    await scenes.with_groups(box, olga)
    await scenes.with_budgets(box, olga)
    await scenes.with_usage(box)
    await box.workspace(olga, Phase.READY)
    link = await box.resets.make(vic.id, drops_factors=False, by=olga)
    await box.resets.use(link.rpartition("/")[2], "a new password")
    draw = drawing(box, browser, box.accounts.get(vic.id), _folder(artifacts))
    for name in ("box", "models", "budgets", "usage", "account"):
        await draw(f"15-viewer-{name}", f"/{name}")
