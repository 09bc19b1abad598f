"""What was done, by whom, to what. Entries are only ever added."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditEntry:
    seq: int  # order of entry; rises by at least one
    at: int  # Unix ms
    actor: str | None  # user id; None: the appliance itself, or somebody who is not signed in
    action: str  # "noun.verb", for example "session.refused"
    subject: str  # id of the thing it was done to, "" when there is none
    detail: str  # one line for a person; never a secret, never a prompt
