"""What was done, by whom, to what. Entries are only ever added, and each is chained to the one before it."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass

NO_END = 2**62  # after every instant


@dataclass(frozen=True, slots=True)
class AuditEntry:
    seq: int  # order of entry; rises by at least one
    at: int  # Unix ms
    actor: str | None  # user id; None: the appliance itself, or somebody who is not signed in
    action: str  # "noun.verb", for example "session.refused"
    subject: str  # id of the thing it was done to, "" when there is none
    detail: str  # one line for a person; never a secret, never a prompt
    prev: str | None = None  # hash of the entry before it, "" of the first; None: from before entries were chained
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries somebody looks for; all of what is given has to hold."""

    actor: str | None = ""  # user id; None: the appliance or nobody who is signed in; "": anybody
    words: str = ""  # in what was done, to what, or how, in any case of letters
    since: int = 0  # Unix ms
    until: int = NO_END  # Unix ms, not included


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the whole chain has found."""

    entries: int  # chained ones, up to the first that is wrong
    unchained: int  # from before entries were chained
    head: str  # hash of the newest of `entries`, "" without any
    why: str = ""  # what is wrong; "" when nothing is
    seq: int = 0  # where


def link(key: bytes, prev: str, *, at: int, actor: str | None, action: str, subject: str, detail: str) -> str:
    """The hash of an entry: HMAC-SHA256, in hex, of what it says and of the hash before it."""
    said = json.dumps([prev, at, actor, action, subject, detail], separators=(",", ":"))
    return hmac.digest(key, said.encode(), "sha256").hex()


def follows(key: bytes, prev: str, entry: AuditEntry) -> str:
    """What is wrong with `entry` as the one after the hash `prev`; "" when nothing is."""
    if entry.hash is None or entry.prev is None:
        return "it has lost its hash"
    if entry.prev != prev:
        return "entries before it are missing, or were put in another order"
    made = link(
        key,
        prev,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail,
    )
    return "" if hmac.compare_digest(made, entry.hash) else "it was changed, or written by somebody else"
