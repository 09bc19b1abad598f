"""Where a workspace may connect on the internet: modes, rules, and what they decide. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

USUAL_PORTS = frozenset({80, 443})
SMTP = 25  # where mail servers take mail from each other: an agent that speaks it sends spam
EVERYBODY = ""  # in place of a user's id: a rule for all workspaces

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")


class Mode(StrEnum):
    """How far a workspace reaches. What a rule refuses stays refused in each."""

    NONE = "none"  # nowhere
    LISTED = "listed"  # what a rule allows
    LEARNING = "learning"  # anywhere public, and each new host becomes a rule that allows it
    OPEN = "open"  # anywhere public


class Source(StrEnum):
    """How a rule came about."""

    BOX = "box"  # it was there from the first start on
    SET = "set"
    ANSWERED = "answered"  # to a question of the proxy's
    LEARNED = "learned"


class Outcome(StrEnum):
    """What became of a connection that a workspace wanted."""

    PASSED = "passed"
    FAILED = "failed"  # it was allowed, and nobody answered there
    UNLISTED = "unlisted"  # no rule allows it
    DENIED = "denied"  # a rule refuses it, or so did whoever was asked
    OFF = "off"  # the workspace reaches nothing
    PRIVATE = "private"  # it leads to no public address, or to this box
    MAIL = "mail"  # port 25
    DECOY = "decoy"  # what it sent carried a decoy key


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105
    LEARN = "learn"  # let it pass, and make it a rule
    ASK = "ask"
    UNLISTED = "unlisted"
    DENIED = "denied"
    OFF = "off"
    MAIL = "mail"


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for one member, or for all who have none of their own."""

    mode: Mode = Mode.LISTED
    asks: bool = True  # whether a person is asked about a host that no rule names


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    user_id: str  # whose workspace; EVERYBODY
    host: str  # a name, `*.` and a name (whatever is below it), or an address
    port: int  # 0: the usual ones where it allows, every one where it refuses
    allows: bool
    source: Source
    created_at: int = 0  # Unix ms

    @property
    def place(self) -> str:
        """The way people write it."""
        return named(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one member's workspace had to do with one place in one hour."""

    user_id: str
    hour: int  # Unix ms of its beginning
    host: str
    port: int
    outcome: Outcome
    address: str  # the last one that was connected to; "" where none was
    connections: int
    sent: int  # bytes, from the workspace
    received: int
    first_at: int  # Unix ms
    last_at: int

    @property
    def place(self) -> str:
        """The way people write it."""
        return named(self.host, self.port)


class Rules:
    """Rules of one member (or of everybody), for looking up a host at the cost of its labels."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._allows: dict[tuple[str, int], bool] = {(rule.host, rule.port): rule.allows for rule in rules}

    def refuses(self, host: str, port: int) -> bool:
        """A rule without a port refuses all of them."""
        return any(self._allows.get((name, each)) is False for name in _names(host) for each in {port, 0})

    def allows(self, host: str, port: int) -> bool:
        ports = (port, 0) if port in USUAL_PORTS else (port,)
        return any(self._allows.get((name, each)) is True for name in _names(host) for each in ports)


def decide(policy: Policy, own: Rules, everybody: Rules, host: str, port: int) -> Verdict:
    """What holds for a connection to `host` (as `canonical` writes it). A refusal beats whatever allows it."""
    if policy.mode is Mode.NONE:
        return Verdict.OFF
    if port == SMTP:
        return Verdict.MAIL
    if own.refuses(host, port) or everybody.refuses(host, port):
        return Verdict.DENIED
    if policy.mode is Mode.OPEN or own.allows(host, port) or everybody.allows(host, port):
        return Verdict.PASS
    if policy.mode is Mode.LEARNING:
        return Verdict.LEARN
    return Verdict.ASK if policy.asks else Verdict.UNLISTED


def canonical(host: str) -> str | None:
    """A host as rules name it: in small letters, without a last dot or brackets; None for what is none.

    What ends in a number is an address or nothing: resolvers take `0x7f.1` for one (WHATWG URL, "ends in a number").
    """
    host = host.lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        return _address(host) if ":" in host else None
    host = host.removesuffix(".")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _address(host)
    return host if _NAME.fullmatch(host) else None


def placed(text: str) -> tuple[str, int] | None:
    """The host and port of a rule as somebody writes it: `example.org`, `*.example.org:8443`, `[2001:db8::1]:22`."""
    text = text.strip().lower()
    head, colon, tail = text.rpartition(":")
    if not colon or (text.startswith("[") and text.endswith("]")):
        head, tail = text, "0"
    elif not tail.isdecimal() or len(tail) > 5 or not 0 < int(tail) < 65536:
        return None
    below = head.removeprefix("*.")
    host = canonical(below)
    if host is None or not {".", ":"} & set(host) or (below != head and _is_address(host)):
        return None
    return ("*." + host if below != head else host), int(tail)


def place_of(host: str, port: int) -> tuple[str, int]:
    """What an answer about a connection is a rule for: with a usual port the host as such."""
    return host, 0 if port in USUAL_PORTS else port


def named(host: str, port: int) -> str:
    """A rule's place, the way people write it."""
    return written(host, port) if port else host


def written(host: str, port: int) -> str:
    """The way people write it, without a port where it is the usual one of HTTPS."""
    host = f"[{host}]" if ":" in host else host
    return host if port == 443 else f"{host}:{port}"


def _names(host: str) -> Iterator[str]:
    yield host
    if not _is_address(host):
        while "." in host:
            host = host.partition(".")[2]
            yield "*." + host


def _is_address(host: str) -> bool:
    return ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _address(text: str) -> str | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if found.version == 6:
        return None if found.scope_id is not None else str(found.ipv4_mapped or found)
    return str(found)
