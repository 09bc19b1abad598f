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
from html import escape

from clawloops.model.account import Invitation, Role, User
from clawloops.model.mail import Delivery

NAME = "ClawLoops"

_AS = {Role.ADMIN: " as an admin", Role.MEMBER: "", Role.VIEWER: " as a viewer"}
_WHAT = {
    Role.ADMIN: "You get a workspace of your own with an AI agent in it, and look after the box with others.",
    Role.MEMBER: "You get a workspace of your own with an AI agent in it.",
    Role.VIEWER: "You see how the box does and what is used of it.",
}


def invitation(asked: Invitation, by: User, link: str, delivery: Delivery, *, sender: str, base: str) -> EmailMessage:
    """Who invites to the box at `base`, the link, and until when it is good."""
    who = _line(by.name)
    until = f"{_moment(asked.expires_at)}"
    opening = f"{who} invites you to ClawLoops at {base}{_AS.get(asked.role, '')}. {_WHAT.get(asked.role, '')}"
    ending = f"The link works once, until {until}. If you expected no such invitation, you need do nothing."
    text = f"Hello,\n\n{opening}\n\nOpen this link to choose how you sign in:\n\n{link}\n\n{ending}\n"
    page = (
        f'<!doctype html><html lang="en"><body style="font-family: sans-serif; line-height: 1.5">'
        f"<p>Hello,</p><p>{escape(opening)}</p>"
        f'<p><a href="{escape(link)}">Choose how you sign in</a></p>'
        f"<p>Or copy this address into your browser:<br>{escape(link)}</p><p>{escape(ending)}</p></body></html>\n"
    )
    number = f"{delivery.invitation_id}.{delivery.queued_at}"  # the same for each try: who gets two can tell
    return _letter(f"{who} invites you to ClawLoops", text, page, to=delivery.recipient, sender=sender, number=number)


def trial(by: User, *, to: str, sender: str, base: str, number: str) -> EmailMessage:
    """What the button "Send a test" sends."""
    text = f"Hello,\n\nClawLoops at {base} can send e-mail. {_line(by.name)} asked for this test.\n"
    page = f'<!doctype html><html lang="en"><body><p>{escape(text.strip())}</p></body></html>\n'
    return _letter("ClawLoops can send e-mail", text, page, to=to, sender=sender, number=number)


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


def _moment(instant: int) -> str:
    at = datetime.fromtimestamp(instant / 1000, UTC)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"
