"""Challenges for passkeys: good once, for one purpose, in one browser, for five minutes, in one process."""

from __future__ import annotations

import pytest

from clawloops.clock import steady_ms
from clawloops.control import challenges as rules
from clawloops.control.challenges import VALID_MS, Challenges
from clawloops.errors import BadInput


def test_a_challenge_is_good_once() -> None:
    challenges = Challenges()
    given = challenges.give("use", tied_to="mine")
    challenges.use(given, "use", tied_to="mine")
    for _ in range(2):
        with pytest.raises(BadInput, match="Try again"):
            challenges.use(given, "use", tied_to="mine")
    challenges.use(challenges.give("use", tied_to="mine"), "use", tied_to="mine")


def test_for_another_purpose_or_browser_or_process_it_is_none_and_not_used_up() -> None:
    challenges = Challenges()
    given = challenges.give("use", tied_to="mine")
    for process, challenge, purpose, tied_to in (
        (challenges, given, "add", "mine"),
        (challenges, given, "use", "yours"),
        (Challenges(), given, "use", "mine"),
        (challenges, b"", "use", "mine"),
        (challenges, given[:-1], "use", "mine"),
        (challenges, bytes(len(given)), "use", "mine"),
        (challenges, (2**63).to_bytes(8, "big") + given[8:], "use", "mine"),
    ):
        with pytest.raises(BadInput):
            process.use(challenge, purpose, tied_to=tied_to)
    challenges.use(given, "use", tied_to="mine")


def test_after_five_minutes_it_is_none_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    challenges = Challenges()
    used, late = (challenges.give("use", tied_to="mine") for _ in range(2))
    challenges.use(used, "use", tied_to="mine")
    later = steady_ms() + VALID_MS + 1
    monkeypatch.setattr(rules, "steady_ms", lambda: later)
    for each in (used, late):
        with pytest.raises(BadInput):
            challenges.use(each, "use", tied_to="mine")
    challenges.use(challenges.give("use", tied_to="mine"), "use", tied_to="mine")
    assert len(challenges._used) == 1, "what has expired needs no room"
