"""What an invitation says, in each language of the pages."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from clawloops.control import letters
from clawloops.model.account import Invitation, Role, User
from clawloops.model.mail import Delivery, DeliveryState
from clawloops.web.languages import FOLDER, NAMES, language
from tests import spoken
from tests.store import rows

LINK = "https://box.example.com/join/abc"
NOON = 1_796_212_800_000  # 2 December 2026, 12:00 UTC
WHO = "Olga {0} <b>"


class Noted:
    """A language that notes what it is asked for."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.asked: set[str] = set()

    def message(self, text: str) -> str:
        self.asked.add(text)
        return language(self.code).message(text)

    def form(self, text: str) -> str:
        self.asked.add(f"form{spoken.CONTEXT}{text}")
        return language(self.code).form(text)


def _by() -> User:
    return rows.user(name=WHO)


def _invited(role: Role, tongue: letters.Tongue) -> EmailMessage:
    asked = Invitation("i1", b"", role, "", "u-ada", 1, NOON, None, None)
    queued = Delivery("i1", "ken@example.com", DeliveryState.WAITING, 0, 1, "", 1, tongue.code)
    return letters.invitation(asked, _by(), LINK, queued, tongue, sender="c@example.com", base="box.example.com")


def _parts(letter: EmailMessage) -> tuple[str, str]:
    plain, page = letter.get_body(("plain",)), letter.get_body(("html",))
    assert plain is not None and page is not None
    return plain.get_content(), page.get_content()


def test_an_invitation_in_english_and_in_chinese() -> None:
    text, page = _parts(_invited(Role.MEMBER, language("en")))
    assert f"{WHO} invites you to ClawLoops at box.example.com. You get a workspace" in text
    assert "until 2 December 2026, 12:00 UTC." in text and 'lang="en"' in page and "&lt;b&gt;" in page
    letter = _invited(Role.ADMIN, language("zh-Hans"))
    text, page = _parts(letter)
    assert letter["Subject"] == f"{WHO} 邀请你加入 ClawLoops" and 'lang="zh-Hans"' in page and "<b>" not in page
    assert f"{WHO} 邀请你以管理员身份加入 box.example.com 上的 ClawLoops" in text and "2026 年 12 月 2 日 12:00" in text
    assert LINK in text and page.count(LINK) == 2


@pytest.mark.parametrize("code", sorted(set(NAMES) - {"en"}))
def test_every_message_of_a_letter_is_in_the_catalogue(code: str) -> None:
    noted = Noted(code)
    for role in set(Role) - {Role.OWNER}:
        _invited(role, noted)
    letters.trial(_by(), noted, to="a@example.com", sender="c@example.com", base="box", number="1")
    assert noted.asked - set(spoken.messages(FOLDER / f"{code}.po")) == set()
