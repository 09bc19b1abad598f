"""The e-mails that this box writes: plain text first, and the same as simple HTML. Pure but for the date in the head.

No line of a head can be begun by what people have typed: what is not printable becomes a space, and `EmailMessage`
refuses the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import partial
from html import escape
from typing import Protocol

from clawloops.model.account import Invitation, Role, User
from clawloops.model.mail import Delivery

NAME = "ClawLoops"

_OPENING = {
    Role.ADMIN: "{name} invites you to ClawLoops at {host} as an admin. "
    "You get a workspace of your own with an AI agent in it, and look after the box with others.",
    Role.MEMBER: "{name} invites you to ClawLoops at {host}. You get a workspace of your own with an AI agent in it.",
    Role.VIEWER: "{name} invites you to ClawLoops at {host} as a viewer. "
    "You see how the box does and what is used of it.",
}


class Tongue(Protocol):
    """A language, as far as a letter needs one."""

    @property
    def code(self) -> str:
        """BCP 47"""

    def message(self, text: str) -> str:
        """What stands for the English of a word."""

    def form(self, text: str) -> str:
        """What stands for the English of a sentence, its values in braces."""


def invitation(
    asked: Invitation, by: User, link: str, delivery: Delivery, tongue: Tongue, *, sender: str, base: str
) -> EmailMessage:
    """Who invites to the box at `base`, the link, and until when it is good."""
    say = partial(_say, tongue)
    who, until = _line(by.name), _moment(asked.expires_at, tongue)
    hello, opening = say("Hello,"), say(_OPENING[asked.role], name=who, host=base)
    ending = say(
        "The link works once, until {moment}. If you expected no such invitation, you need do nothing.", moment=until
    )
    text = f"{hello}\n\n{opening}\n\n{say('Open this link to choose how you sign in:')}\n\n{link}\n\n{ending}\n"
    page = (
        f'<!doctype html><html lang="{tongue.code}"><body style="font-family: sans-serif; line-height: 1.5">'
        f"<p>{escape(hello)}</p><p>{escape(opening)}</p>"
        f'<p><a href="{escape(link)}">{escape(say("Choose how you sign in"))}</a></p>'
        f"<p>{escape(say('Or copy this address into your browser:'))}<br>{escape(link)}</p>"
        f"<p>{escape(ending)}</p></body></html>\n"
    )
    number = f"{delivery.invitation_id}.{delivery.queued_at}"  # the same for each try: who gets two can tell
    subject = say("{name} invites you to ClawLoops", name=who)
    return _letter(subject, text, page, to=delivery.recipient, sender=sender, number=number)


def trial(by: User, tongue: Tongue, *, to: str, sender: str, base: str, number: str) -> EmailMessage:
    """What the button "Send a test" sends."""
    say = partial(_say, tongue)
    told = say("ClawLoops at {host} can send e-mail. {name} asked for this test.", host=base, name=_line(by.name))
    text = f"{say('Hello,')}\n\n{told}\n"
    page = f'<!doctype html><html lang="{tongue.code}"><body><p>{escape(text.strip())}</p></body></html>\n'
    return _letter(say("ClawLoops can send e-mail"), text, page, to=to, sender=sender, number=number)


def _letter(subject: str, text: str, page: str, *, to: str, sender: str, number: str) -> EmailMessage:
    letter = EmailMessage(policy=SMTP)
    letter["Subject"] = subject
    letter["From"] = Address(NAME, addr_spec=sender)
    letter["To"] = Address(addr_spec=to)
    letter["Date"] = format_datetime(datetime.now(UTC))
    letter["Message-ID"] = f"<{number}@{sender.rpartition('@')[2]}>"
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday note is sent back
    letter.set_content(text)
    letter.add_alternative(page, subtype="html")
    return letter


def _line(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _moment(instant: int, tongue: Tongue) -> str:
    at = datetime.fromtimestamp(instant / 1000, UTC)
    values = {"day": at.day, "month": tongue.message(f"{at:%B}"), "year": at.year, "time": f"{at:%H:%M}"}
    return _say(tongue, "{day} {month} {year}, {time} UTC", **values)


def _say(tongue: Tongue, text: str, **values: object) -> str:
    return tongue.form(text).format_map(values)
