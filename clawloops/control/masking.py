"""What may stand in no text that a person reads: the secrets of a workspace, and all that has the form of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

from clawloops.control import hooks, tokens
from clawloops.log import redactor
from clawloops.model import key
from clawloops.spelling import spellings

_FORM = re.compile(rf"(?:{key.PREFIX}|{tokens.PREFIX}|{hooks.PREFIX})[A-Za-z0-9_-]{{43}}")


class Mask:
    def __init__(self, secrets: Iterable[str]) -> None:
        """`secrets`: beside those that this process itself uses. One under 8 characters would shred ordinary words."""
        long = (secret for secret in secrets if len(secret) >= 8)
        self._spelled = tuple(dict.fromkeys(each for secret in long for each in spellings(secret)))

    def over(self, text: str) -> str:
        """The text with `[secret]` in the place of each, however it is spelled."""
        text = redactor.scrub(text)
        for each in self._spelled:
            if each in text:
                text = text.replace(each, "[secret]")
        return _FORM.sub("[secret]", text)
