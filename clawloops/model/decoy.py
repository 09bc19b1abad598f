"""Decoy keys: they look like a member's key, open nothing, and tell by themselves whose workspace each was put into.

A decoy is 32 bytes: what it says (16 bytes), made unreadable and unforgeable with a key of the box (synthetic IV, as in
RFC 5297, of HMAC-SHA256). So none is stored, and each that was ever made is known again, at any time and in one step.
"""

from __future__ import annotations

import hmac
import re
import struct
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from clawloops.model.key import PREFIX

_SHAPE = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{43}})(?![A-Za-z0-9_-])")
_BASIC = re.compile(r"\bbasic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)  # RFC 7617
_SAID = struct.Struct(">8sII")
_HALF = 16  # bytes
_MOST = 64  # keys that one text is searched for: who sends more keeps everybody waiting, and looks for nothing


class Place(StrEnum):
    """Where a decoy was used."""

    GATEWAY = "gateway"  # of models, as workspaces reach it
    INTERNET = "internet"  # on the way there, past the proxy
    TOOLS = "tools"  # the gateway, as members' own tools reach it
    SIGN_IN = "sign-in"
    WEBHOOK = "webhook"

    @property
    def is_inside(self) -> bool:
        """Whether a workspace used it, and no address from outside."""
        return self in (Place.GATEWAY, Place.INTERNET)


class Consequence(StrEnum):
    """What comes of it when a decoy is used."""

    ALARM = "alarm"
    STOP = "stop"  # and an alarm; the workspace that it was taken from waits for an admin


@dataclass(frozen=True, slots=True)
class Decoy:
    """What a decoy says."""

    runtime_id: str
    generation: int  # of the container that it was put into
    number: int  # rises when an admin has it renewed


@dataclass(frozen=True, slots=True)
class Use:
    """How often the decoys of one workspace were used at one place, by one of those who can be told apart."""

    runtime_id: str
    place: Place
    origin: str  # id of the runtime inside which it was used, or the address it came from; "": one of many
    count: int
    first_at: int  # Unix ms
    last_at: int
    has_stopped: bool  # whether the workspace was stopped because of it


Spot = Callable[[str, Place, str], bool]
"""Takes a text that was refused or is about to leave, where, and `Use.origin`. Tells whether a decoy is in it."""


def unnoticed(text: str, place: Place, origin: str) -> bool:
    """A `Spot` of who has no decoys."""
    return False


class DecoyKeys:
    """Makes decoys, and knows them again."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 random bytes of this box. Whoever lacks them tells no decoy from a key."""
        self._key = key

    def make(self, decoy: Decoy) -> str:
        """The same one for the same decoy. Raises ValueError for a runtime whose id is not "r" and 16 hex digits."""
        said = _SAID.pack(bytes.fromhex(decoy.runtime_id.removeprefix("r")), decoy.generation, decoy.number)
        tag = self._tag(said)
        return PREFIX + urlsafe_b64encode(tag + self._masked(said, tag)).decode().rstrip("=")

    def find(self, text: str) -> Decoy | None:
        """The first decoy in a text, also in the `Basic` credentials of a header."""
        shapes = (shape[1] for piece in _pieces(text) for shape in _SHAPE.finditer(piece))
        found = map(self._read, islice(shapes, _MOST))
        return next((decoy for decoy in found if decoy is not None), None)

    def _read(self, coded: str) -> Decoy | None:
        raw = urlsafe_b64decode(coded + "=")
        tag = raw[:_HALF]
        said = self._masked(raw[_HALF:], tag)
        if not hmac.compare_digest(self._tag(said), tag):
            return None
        runtime, generation, number = _SAID.unpack(said)
        return Decoy("r" + runtime.hex(), generation, number)

    def _tag(self, said: bytes) -> bytes:
        return hmac.digest(self._key, b"decoy tag" + said, "sha256")[:_HALF]

    def _masked(self, half: bytes, tag: bytes) -> bytes:
        mask = hmac.digest(self._key, b"decoy mask" + tag, "sha256")
        return bytes(each ^ other for each, other in zip(half, mask, strict=False))


def _pieces(text: str) -> Iterator[str]:
    yield text
    for basic in _BASIC.finditer(text):
        try:
            yield b64decode(basic[1] + "==").decode("latin-1")
        except Error:  # it is none
            continue
