"""What a page shows of pulls."""

from __future__ import annotations

from clawloops.control.pulls import Progress, newest
from clawloops.model.library import Pull, PullState


def test_one_that_is_tried_again_takes_the_place_of_what_failed() -> None:
    def pull(number: int, model: str, state: PullState) -> Progress:
        return Progress(Pull(f"q{number}", "b1", model, True, state, "", "u1", number, 0))

    kept = [pull(4, "a", PullState.RUNNING), pull(3, "b", PullState.FAILED), pull(2, "a", PullState.FAILED)]
    assert newest(kept) == (kept[0], kept[1])
    assert newest([]) == ()
