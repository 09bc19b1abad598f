"""A secret is masked however it is spelled, and nothing else is."""

from __future__ import annotations

import base64
import io
import logging

import pytest

from clawloops.gateway.answers import scrub
from clawloops.log import redactor
from clawloops.spelling import spellings
from tests.canaries import spelled

KEY = 'sk-0123/4567+89ab=cdef&"quoted"<é>'


@pytest.mark.attacks(19)
@pytest.mark.parametrize("how", [each for each in spelled(KEY) if each != "reversed"])
def test_every_spelling_of_a_secret_is_masked_in_the_log_and_in_what_a_backend_says(
    said: io.StringIO, how: str
) -> None:
    redactor.add(KEY)
    text = f"before {spelled(KEY)[how]} after"
    logging.getLogger("clawloops").warning("%s", text)
    for written in (said.getvalue(), scrub(text, (KEY,))):
        assert "before" in written and "after" in written and spelled(KEY)[how] not in written


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_it_is_found_in_base64_wherever_it_begins_and_ends(before: int, after: int) -> None:
    encoded = base64.b64encode(b"u" * before + KEY.encode() + b"!" * after).decode()
    assert len([each for each in spellings(KEY)[1:] if each in encoded]) == 1


def test_a_word_as_short_as_others_is_masked_as_it_is_alone() -> None:
    assert spellings("a+b/c=d") == ("a+b/c=d",)
