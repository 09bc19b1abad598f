"""E-mail that this box sends: through which server, and how far each invitation that is sent by e-mail has come."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_LONGEST = 254  # characters (RFC 5321, 4.5.3.1.3, without the angle brackets)
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"  # a dot-atom (RFC 5322, 3.2.3)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=[^@]{{1,64}}@){_LOCAL}@{_LABEL}(?:\.{_LABEL})*", re.ASCII)


class Security(StrEnum):
    """How the way to the mail server is encrypted. Where it is, the server's certificate is verified."""

    NONE = "none"
    STARTTLS = "starttls"  # after the greeting, or nothing is sent
    TLS = "tls"  # from the first byte


@dataclass(frozen=True, slots=True)
class MailServer:
    host: str
    port: int
    security: Security
    user: str  # "" when it takes mail from this box without signing in
    sender: str  # the address that e-mails come from


class DeliveryState(StrEnum):
    WAITING = "waiting"  # for its (next) try
    SENT = "sent"  # the server took it
    FAILED = "failed"  # given up


@dataclass(frozen=True, slots=True)
class Delivery:
    """An invitation's e-mail. All instants are Unix ms."""

    invitation_id: str
    recipient: str
    state: DeliveryState
    tries: int
    next_at: int  # when it is tried (again); of one that was sent or given up, when that was
    said: str  # what came of the last try, in the server's words where it had any; "" before the first
    queued_at: int
    language: str  # that it is written in (BCP 47)


def is_address(text: str) -> bool:
    """Whether it is one e-mail address that any server takes: ASCII, no quotes, nothing that ends a line.

    Nor what begins an encoded word (RFC 2047, 2), which `email.headerregistry` would read as other text.
    """
    return len(text) <= _LONGEST and "=?" not in text and _ADDRESS.fullmatch(text) is not None
