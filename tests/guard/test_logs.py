"""How much of a log may be read through the guard: its end, once."""

from __future__ import annotations

import pytest

from clawloops.guard.policy import Refused, admit
from clawloops.runtimes.calls import MOST_LOG_ENTRIES, Target

PATH = "/v1.41/containers/abc/logs"
STREAMS = [("stdout", "1"), ("stderr", "1"), ("timestamps", "1")]


@pytest.mark.parametrize("tail", ["0", "1", "500", str(MOST_LOG_ENTRIES)])
def test_the_end_of_a_runtimes_log_is_read(tail: str) -> None:
    found = admit("GET", PATH, [*STREAMS, ("follow", "0"), ("tail", tail)])
    assert found.call.target is Target.RUNTIME and found.name == "abc"


@pytest.mark.attacks(5)
@pytest.mark.parametrize(
    "query",
    [
        [],  # the Engine's own defaults: all of it
        [("tail", "10")],
        [("follow", "0")],
        *([("follow", each), ("tail", "10")] for each in ("1", "true", "", "2")),
        *([("follow", "0"), ("tail", each)] for each in ("all", "", "-1", "20001", "1e3", " 5", "\u0665", "9" * 5000)),
        [("follow", "0"), ("tail", "10"), ("since", "0")],
        [("follow", "0"), ("tail", "10"), ("tail", "all")],
        [("follow", "0"), ("tail", "10"), ("follow", "1")],
    ],
)
def test_neither_more_of_it_nor_what_comes_later(query: list[tuple[str, str]]) -> None:
    with pytest.raises(Refused):
        admit("GET", PATH, [*STREAMS, *query])
    with pytest.raises(Refused):
        admit("POST", PATH, [*STREAMS, ("follow", "0"), ("tail", "10")])
