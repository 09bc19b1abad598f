"""The languages of the pages: English is what the code says, and each other one is one file, catalogues/CODE.po.

What a template says is marked there for gettext, as Jinja has it. What the rest of the code says (states, errors, what
was written down long ago) goes into logs, the store and the API as well, in English. The pages know it again by that
English: a message of the catalogue stands for it, with its values in braces, "At most {count} characters."
(docs/decisions/0048).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from babel.messages import pofile

FOLDER = Path(__file__).parent / "catalogues"
NAMES = {"en": "English", "zh-Hans": "中文"}
"""Each by its own name, under its code in HTML (BCP 47)."""

_LONGEST = 600  # characters of a text that is looked up by its shape
_MOST = 16  # sentences of a text that is looked up
_TOGETHER = 4  # of them that one message may stand for
_REMEMBERED = 4096  # texts
_ENDS = (*".!?。\uff01\uff1f",)  # of sentences, in Chinese, too
_VALUE = re.compile(r"\{(\w+)\}")
_NEXT = re.compile(r"(?<=[^A-Z\s][.!?…]) (?=[^a-z])")  # where a sentence begins; "J. Doe" is none
_ASKED = re.compile(r"\s*([A-Za-z-]+|\*)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")
_MARKS = ("; ", ": ", ", ")  # between the parts of a sentence
_KINDS = {"count": r"\d[\d.,]*", "slug": r"\S+", "name": "(?:(?!; ).)+?"}
_LAST = r"(?:(?![^A-Z\s][.!?…] [^a-z]).)+"  # a value at the end of a message does not take the next sentence along
_FORM = "form"  # the context of what is filled in


@dataclass(frozen=True, slots=True)
class Messages:
    """Of one language, by what stands for them in the code."""

    said: Mapping[str, str] = field(default_factory=dict)
    counted: Mapping[str, Sequence[str]] = field(default_factory=dict)  # forms, by the English for one
    meant: Mapping[tuple[str, str], str] = field(default_factory=dict)  # by their context and the English


class Language:
    """One language of the pages, with the messages that differ from English."""

    def __init__(self, code: str, messages: Messages, *, between: str = " ") -> None:
        self.code = code
        self.said: Callable[[str], str] = lru_cache(_REMEMBERED)(self._said) if messages.said else lambda text: text
        self._messages = messages
        self._between = between  # of sentences
        self._shapes = _shapes(messages.said)

    def message(self, text: str) -> str:
        """gettext: what stands for a message of a template."""
        return self._messages.said.get(text, text)

    def counted(self, one: str, many: str, count: int) -> str:
        """ngettext, for languages that have one form or count as English does."""
        forms = self._messages.counted.get(one, (one, many))
        return forms[0] if count == 1 else forms[-1]

    def meant(self, context: str, text: str) -> str:
        """pgettext: a message that has several meanings, in one of them."""
        return self._messages.meant.get((context, text), text)

    def form(self, text: str) -> str:
        """What figures and letters are written into, their values in braces: nothing of a page is known by it."""
        return self.meant(_FORM, text)

    def _said(self, text: str) -> str:
        """What the code said in English. Sentences that no message stands for stay as they are."""
        sentences = _NEXT.split(text)
        if len(text) > _LONGEST or len(sentences) > _MOST:  # whoever made it that long does not hold up the page
            return self._messages.said.get(text, text)
        said = []
        while sentences:
            for count in range(min(len(sentences), _TOGETHER), 0, -1):
                found = self._whole(" ".join(sentences[:count]))
                if found is not None or count == 1:
                    said.append(self._clauses(sentences[0]) if found is None else found)
                    del sentences[:count]
                    break
        return self._between.join(said)

    def _clauses(self, text: str) -> str:
        """What was joined out of parts, when the first is known."""
        for mark in _MARKS:
            first, there, rest = text.partition(mark)
            if there and (found := self._whole(first)) is not None:
                return found + self.message(mark) + self._said(rest)
        return text

    def _whole(self, text: str) -> str | None:
        """The text itself, or what `sentence` made of it: with a capital, and with a full stop.

        Messages that are the text go before those that it fits, and those go last that begin with a value. A full stop
        belongs to a value only where nothing else fits.
        """
        bare = text.removesuffix(".")
        forms = dict.fromkeys(each for kept in (bare, text) for each in (kept, kept[:1].lower() + kept[1:]))
        for look in (self._messages.said.get, self._fits, self._fits_whatever):
            for form in forms:
                if (found := look(form)) is not None:
                    ends = form.endswith(".") or not text.endswith(".") or found.endswith(_ENDS)
                    return found if ends else found + self.message(".")
        return None

    def _fits(self, text: str) -> str | None:
        """What stands for a message whose own words are the first ones of the text."""
        return self._filled(text, self._shapes.get(text[:1], ()))

    def _fits_whatever(self, text: str) -> str | None:
        """The same for one that begins with a value."""
        return self._filled(text, self._shapes.get("", ()))

    def _filled(self, text: str, shapes: Sequence[tuple[re.Pattern[str], str]]) -> str | None:
        for shape, message in shapes if len(text) <= _LONGEST else ():
            if match := shape.fullmatch(text):
                values = {name: self._value(name, value) for name, value in match.groupdict().items()}
                return message.format_map(values)
        return None

    def _value(self, name: str, value: str) -> str:
        """What is said to be text in the message ({text}, {text2}, …) is ours, too; anything else may be anybody's."""
        if not name.startswith("text"):
            return value
        if value.endswith(_ENDS):
            return self.said(value)
        return self.said(f"{value}.").removesuffix(self.message(".")).removesuffix(".")  # its stop was the message's


def _shapes(said: Mapping[str, str]) -> dict[str, list[tuple[re.Pattern[str], str]]]:
    """Messages with values, by the character that they begin with, "" for a value; the longest first."""
    shapes: dict[str, list[tuple[re.Pattern[str], str]]] = {}
    for text in sorted(said, key=len, reverse=True):
        if _VALUE.search(text):
            shapes.setdefault("" if text.startswith("{") else text[0], []).append((_shape(text), said[text]))
    return shapes


def _shape(text: str) -> re.Pattern[str]:
    """What a value may be goes by its name: {count…} is a number, {slug…} one word, {name…} a part of a sentence."""
    words = []
    parts = _VALUE.split(text)
    for index, each in enumerate(parts):
        last = _LAST if index == len(parts) - 2 and not parts[-1].rstrip(".") else ".+?"
        value = next((form for name, form in _KINDS.items() if each.startswith(name)), last)
        words.append(f"(?P<{each}>{value})" if index % 2 else re.escape(each))
    return re.compile("".join(words), re.DOTALL)


ENGLISH = Language("en", Messages())

_spoken: ContextVar[Language] = ContextVar("language", default=ENGLISH)


def spoken() -> Language:
    """The language of the page that is being made."""
    return _spoken.get()


def speak(language: Language) -> None:
    """From now on, in this task."""
    _spoken.set(language)


_known = {ENGLISH.code: ENGLISH}


def known(code: str) -> Language | None:
    """One of NAMES that was read before."""
    return _known.get(code)


def language(code: str) -> Language:
    """One of NAMES. Reads its file at the first time, which takes about a fifth of a second."""
    if code not in _known:
        _known[code] = _read(code)
    return _known[code]


def _read(code: str) -> Language:
    with (FOLDER / f"{code}.po").open("rb") as file:
        catalogue = pofile.read_po(file, abort_invalid=True)
    said, counted, meant = {}, {}, {}
    for each in catalogue:
        if not each.id or not each.string:
            continue
        if isinstance(each.id, (list, tuple)):
            counted[each.id[0]] = tuple(each.string)
        elif each.context:
            meant[each.context, each.id] = str(each.string)
        else:
            said[each.id] = str(each.string)
    return Language(code, Messages(said, counted, meant), between="" if code.startswith("zh") else " ")


def chosen(code: str, accepted: str) -> str:
    """A code of NAMES: that of the cookie where it is one, else what the browser likes best (RFC 9110, 12.5.4)."""
    return code if code in NAMES else _liked(accepted[:_LONGEST])


@lru_cache(256)
def _liked(accepted: str) -> str:
    ranges = [found for each in accepted.split(",") if (found := _ASKED.fullmatch(each))]
    for found in sorted(ranges, key=lambda each: -float(each[2] or 1)):
        wanted = found[1].lower()
        if wanted == "*" or float(found[2] or 1) == 0:
            continue
        for ours in NAMES:
            if wanted.split("-")[0] == ours.split("-")[0]:
                return ours
    return ENGLISH.code
