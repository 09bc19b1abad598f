"""What a member lets their agent use beside the models: MCP servers and a Telegram bot, and how people write them.

Everything here ends in OpenClaw's configuration, which it reads as a whole or not at all: what is not sure to be taken
is refused here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from clawloops.errors import BadInput
from clawloops.model.egress import canonical

MOST = 20  # connections of one member
MOST_SECRETS = 16  # headers or variables of one
TELEGRAM_HOST = "api.telegram.org"
BOT_TOKEN = "bot token"  # noqa: S105
"""The name of Telegram's one secret."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,28}[a-z0-9])?")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_VALUE = re.compile(r"[\x20-\x7e]{1,4000}")
_TOKEN = re.compile(r"[0-9]{5,16}:[A-Za-z0-9_-]{30,64}")
_PERSON = re.compile(r"[1-9][0-9]{3,14}")
_MOST_PEOPLE = 20
_LONGEST = 1000  # characters of an address or a command line


class Kind(StrEnum):
    """How OpenClaw speaks with it. The first three are its transports of MCP servers."""

    HTTP = "streamable-http"
    SSE = "sse"
    COMMAND = "stdio"  # a program that OpenClaw starts in its own container
    TELEGRAM = "telegram"

    @property
    def is_web(self) -> bool:
        return self in (Kind.HTTP, Kind.SSE)


@dataclass(frozen=True, slots=True)
class Connection:
    id: str  # "x" + 16 hex
    user_id: str
    kind: Kind
    name: str  # unique among a member's; what OpenClaw calls the server
    target: str  # an address, a command line as a shell takes it; of Telegram the numbers of who may write
    enabled: bool
    created_at: int  # Unix ms
    version: int  # from 1, rises with each change
    secrets: Mapping[str, str] | None = field(repr=False)  # headers or variables; None: their seal does not open

    @property
    def words(self) -> list[str]:
        """A command and its arguments; of Telegram who may write."""
        return shlex.split(self.target)

    @property
    def reach(self) -> tuple[str, int] | None:
        """The host and port on the internet that it needs; None: none that is known."""
        if self.kind is Kind.TELEGRAM:
            return TELEGRAM_HOST, 443
        if not self.kind.is_web or (address := urlsplit(self.target)).scheme == "http":
            return None
        return canonical(address.hostname or "") or "", address.port or 443

    @property
    def held_for(self) -> str:
        """What its secrets are for: an origin, a command, or who may write. Another one needs its own. ValueError."""
        if self.kind.is_web:
            address = urlsplit(self.target)
            return f"{address.scheme}://{address.netloc.lower()}"
        return self.target


def name_of(text: str) -> str:
    """The name of an MCP server. Raises BadInput."""
    name = text.strip()
    if not _NAME.fullmatch(name) or name == Kind.TELEGRAM:
        raise BadInput("Write a short name of small letters, digits and hyphens, such as docs.", field="name")
    return name


def target_of(kind: Kind, text: str) -> str:
    """The address or the command line of an MCP server. Raises BadInput."""
    text = text.strip()
    if len(text) > _LONGEST or not text.isprintable():
        raise BadInput(f"Write one line of at most {_LONGEST} characters.", field="target")
    if not kind.is_web:
        return _command(text)
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError:
        raise _no_address() from None
    if address.username is not None or address.fragment or not text.isascii() or " " in text or port == 0:
        raise _no_address()
    if not _leads_out(address) and not _stays_inside(address):
        raise _no_address()
    return text


def secrets_of(kind: Kind, given: Mapping[str, str]) -> dict[str, str]:
    """The headers or variables of an MCP server. Raises BadInput, which names no value."""
    if len(given) > MOST_SECRETS:
        raise BadInput(f"At most {MOST_SECRETS} lines.", field="secrets")
    shape, called = (_HEADER, "header") if kind.is_web else (_VARIABLE, "variable")
    for name, value in given.items():
        if not shape.fullmatch(name):
            raise BadInput(f"One of the names is not one of a {called}.", field="secrets")
        if not _VALUE.fullmatch(value):
            raise BadInput(
                f"The value of {name} has to be one line of plain characters, at most 4000.", field="secrets"
            )
    return dict(given)


def lines_of(kind: Kind, text: str) -> dict[str, str]:
    """Headers (`Name: value`) or variables (`NAME=value`), one a line. Raises BadInput, which names no value."""
    mark, example = (":", "Authorization: Bearer …") if kind.is_web else ("=", "API_KEY=…")
    found: dict[str, str] = {}
    for line in filter(None, (each.strip() for each in text.splitlines())):
        name, there, value = line.partition(mark)
        if not there or name.strip() in found:
            raise BadInput(f"Write one a line, each once, such as {example}", field="secrets")
        found[name.strip()] = value.strip()
    return secrets_of(kind, found)


def token_of(text: str) -> str:
    """A bot's token, as BotFather gives it. Raises BadInput."""
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise BadInput("That is no token of a bot. BotFather shows one such as 123456789:AAE…", field="key")
    return token


def people_of(text: str) -> str:
    """Telegram's numbers of who may write. Raises BadInput."""
    people = dict.fromkeys(text.replace(",", " ").split())
    if len(people) > _MOST_PEOPLE or not all(_PERSON.fullmatch(each) for each in people):
        raise BadInput(
            f"Write at most {_MOST_PEOPLE} numbers, such as 123456789. The bot tells you yours.", field="people"
        )
    return " ".join(people)


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        raise BadInput("A quotation mark is not closed.", field="target") from None
    if not words or not words[0]:
        raise BadInput("Write a command, such as python3 /home/node/server.py", field="target")
    return text


def _leads_out(address: SplitResult) -> bool:
    host = canonical(address.hostname or "")
    return address.scheme == "https" and host is not None and bool({".", ":"} & set(host))


def _stays_inside(address: SplitResult) -> bool:
    """Whether it leads to the workspace itself: there alone nothing has to be encrypted."""
    return address.scheme == "http" and address.hostname in ("localhost", "127.0.0.1")


def _no_address() -> BadInput:
    return BadInput(
        "Write an address such as https://mcp.example.com/mcp. With http:// only a server in the workspace itself, "
        "http://127.0.0.1:9000/mcp.",
        field="target",
    )
